// Network namespaces: enter one, do synchronous work there, come back. A socket stays for ever in the
// namespace it was made in, and a child is born in the namespace of its parent's thread.
import fs from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { libc } from './calls.ts';

const CLONE_NEWNET = 0x40000000;

/** An open handle of a network namespace. Keeps the namespace alive: close it. */
export type NamespaceFd = number;

let home: number | undefined;

/** The namespace this thread was in when first asked. */
function homeFd(): number {
  home ??= fs.openSync('/proc/thread-self/ns/net', 'r');
  return home;
}

/** Opens `/run/netns/NAME`, `/proc/PID/ns/net`. Throws as `fs.openSync` does. */
export const openNamespace = (path: string): NamespaceFd => fs.openSync(path, 'r');

/** Inode and device: the same for two handles of one namespace. */
export function namespaceId(fd: NamespaceFd): string {
  const { ino, dev } = fs.fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}

/** The namespace of this thread. */
export const ownNamespaceId = (): string => namespaceId(homeFd());

/**
 * Runs `work` inside the namespace. `work` must be synchronous and must start nothing asynchronous but
 * a child process: a thread born inside would stay there. Ends the process if the way back fails.
 * Throws EPERM without CAP_SYS_ADMIN.
 */
export function inNamespace<T>(fd: NamespaceFd, work: () => T): T {
  const back = homeFd();
  const entered = libc().setns(fd, CLONE_NEWNET);
  if (entered < 0) throw systemError('setns', -entered);
  try {
    return work();
  } finally {
    if (libc().setns(back, CLONE_NEWNET) < 0) process.abort();
  }
}

/** Whether this process may enter namespaces and mark sockets; a reason if not. */
export function namespacesAvailable():
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string } {
  if (process.platform !== 'linux') return { ok: false, reason: 'this is not Linux' };
  if (!isMainThread) return { ok: false, reason: 'only the main thread enters namespaces' };
  try {
    inNamespace(homeFd(), () => {});
    return { ok: true };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { ok: false, reason: `network namespaces cannot be entered: ${why}` };
  }
}

const names: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  9: 'EBADF',
  11: 'EAGAIN',
  13: 'EACCES',
  22: 'EINVAL',
  32: 'EPIPE',
  90: 'EMSGSIZE',
  98: 'EADDRINUSE',
  99: 'EADDRNOTAVAIL',
  101: 'ENETUNREACH',
  104: 'ECONNRESET',
  111: 'ECONNREFUSED',
  113: 'EHOSTUNREACH',
};

/** An Error with `code` and `syscall`, as Node's own. */
export function systemError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = names[errno] ?? `E${errno}`;
  return Object.assign(new Error(`${syscall}: ${code}`), { code, syscall, errno: -errno });
}
