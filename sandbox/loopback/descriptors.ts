// How the supervisor gets hold of a pod's own socket, so that it can act on it:
//   take    pidfd_getfd, where the kernel's filter of the surroundings lets it: nothing is kept
//   copies  it makes the socket itself at socket() time and keeps a copy until it is used (containers
//           often forbid pidfd_getfd); copies of sockets nobody holds any more are swept
import fs from 'node:fs';
import { closeFd, errno, takeFd } from '../../core/linux/index.ts';
import { socketInode } from './caller.ts';
import type { SocketMeans } from './messages.ts';

export interface Descriptors {
  /** A descriptor the caller of this function must close, or a negated errno. */
  take(tid: number, pid: number, fd: number): number;
  /** The pod's program will not use this socket for connecting any more. */
  forget(tid: number, fd: number): void;
  keep(fd: number): void;
  sweep(nowMs: number): void;
  close(): void;
}

export function openDescriptors(means: SocketMeans): Descriptors {
  return means === 'take' ? takenDescriptors : keptDescriptors();
}

const takenDescriptors: Descriptors = {
  take: (_tid, pid, fd) => takeFd(pid, fd),
  forget() {},
  keep() {},
  sweep() {},
  close() {},
};

const sweepEveryMs = 10_000;
const mostCopies = 4_096;

function keptDescriptors(): Descriptors {
  const copies = new Map<number, number>(); // inode → our descriptor
  let sweptMs = 0;
  const drop = (inode: number): void => {
    const fd = copies.get(inode);
    if (fd === undefined) return;
    copies.delete(inode);
    closeFd(fd);
  };
  return {
    take(tid, _pid, fd) {
      const inode = socketInode(tid, fd);
      const copy = inode === undefined ? undefined : copies.get(inode);
      if (inode === undefined || copy === undefined) return -errno.ENOENT;
      copies.delete(inode); // the caller keeps it again if it may be needed once more
      return copy;
    },
    forget(tid, fd) {
      const inode = socketInode(tid, fd);
      if (inode !== undefined) drop(inode);
    },
    keep(fd) {
      const inode = fs.fstatSync(fd).ino;
      if (copies.size >= mostCopies) {
        const oldest = copies.keys().next().value;
        if (oldest !== undefined) drop(oldest);
      }
      copies.set(inode, fd);
    },
    sweep(nowMs) {
      if (copies.size === 0 || nowMs - sweptMs < sweepEveryMs) return;
      sweptMs = nowMs;
      const held = heldSockets();
      for (const inode of copies.keys()) if (!held.has(inode)) drop(inode);
    },
    close() {
      for (const inode of copies.keys()) drop(inode);
    },
  };
}

/** Sockets that some other process of ours holds. */
function heldSockets(): Set<number> {
  const held = new Set<number>();
  for (const pid of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    for (const fd of filesOf(pid)) {
      try {
        const inode = socketInode(Number(pid), Number(fd));
        if (inode !== undefined) held.add(inode);
      } catch {
        // Closed meanwhile.
      }
    }
  }
  return held;
}

function filesOf(pid: string): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`);
  } catch {
    return []; // ended, or of another user: either way it is no pod of ours
  }
}
