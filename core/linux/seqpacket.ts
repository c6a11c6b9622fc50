// SOCK_SEQPACKET over AF_UNIX with descriptors (SCM_RIGHTS): a server and a client. Writing is done at
// once by the main thread; waiting is a worker thread's, one for each socket.
import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import { libc } from './calls.ts';
import { systemError } from './netns.ts';
import { AF_UNIX, errno, SOCK_CLOEXEC, SOCK_SEQPACKET } from './numbers.ts';
import { type Packet, sendPacket } from './seqpacket-calls.ts';

export interface SeqpacketJob {
  readonly fd: number;
  readonly job: 'accept' | 'receive';
}

export type SeqpacketReport =
  | { readonly kind: 'accepted'; readonly fd: number }
  | { readonly kind: 'packet'; readonly packet: Packet }
  /** 0 = an ordinary end. */
  | { readonly kind: 'end'; readonly errno: number };

const SHUT_RDWR = 2;
const SUN_PATH_BYTES = 108;

function encodePath(path: string): Buffer {
  const name = Buffer.from(path);
  if (name.length >= SUN_PATH_BYTES) throw systemError('socket path', errno.EINVAL);
  const bytes = Buffer.alloc(2 + name.length + 1);
  bytes.writeUInt16LE(AF_UNIX, 0);
  name.copy(bytes, 2);
  return bytes;
}

function open(): number {
  const fd = libc().socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) throw systemError('socket', -fd);
  return fd;
}

function startWorker(job: SeqpacketJob, take: (report: SeqpacketReport) => void): void {
  const worker = new Worker(new URL('./seqpacket-worker.ts', import.meta.url), {
    workerData: job,
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
  });
  let over = false;
  const end = (error: number): void => {
    if (over) return;
    over = true;
    libc().close(job.fd); // not before the worker has left it: the number would be given out again
    take({ kind: 'end', errno: error });
  };
  worker.on('message', (report: SeqpacketReport) => {
    if (report.kind === 'end') end(report.errno);
    else take(report);
  });
  worker.on('error', () => end(errno.EINTR));
  worker.on('exit', () => end(0));
}

/** One connection. Descriptors in packets are the receiver's to close. */
export class SeqpacketConnection {
  readonly #fd: number;
  #open = true;
  #onPacket: (packet: Packet) => void = () => {};
  #onClose: (error: Error | undefined) => void = () => {};

  constructor(fd: number) {
    this.#fd = fd;
    startWorker({ fd, job: 'receive' }, (report) => {
      if (report.kind === 'packet') this.#receive(report.packet);
      if (report.kind !== 'end') return;
      this.#open = false;
      this.#onClose(report.errno === 0 ? undefined : systemError('recvmsg', report.errno));
    });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Set both before the next tick. `close` is called once, also after our own close. */
  on(handlers: { packet(packet: Packet): void; close(error: Error | undefined): void }): void {
    this.#onPacket = (packet) => handlers.packet(packet);
    this.#onClose = (error) => handlers.close(error);
  }

  /** False if the other end is gone or does not read. The descriptor stays the caller's. */
  send(message: Uint8Array, pass?: number): boolean {
    return this.#open && sendPacket(this.#fd, message, pass) === 0;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    libc().shutdown(this.#fd, SHUT_RDWR);
  }

  #receive(packet: Packet): void {
    if (this.#open) this.#onPacket(packet);
    else for (const fd of packet.fds) libc().close(fd);
  }
}

/** Throws with `code` (ENOENT, ECONNREFUSED …) if nobody listens at `path`. */
export function connectSeqpacket(path: string): SeqpacketConnection {
  const fd = open();
  const result = libc().connect(fd, encodePath(path));
  if (result < 0) {
    libc().close(fd);
    throw systemError('connect', -result);
  }
  return new SeqpacketConnection(fd);
}

export interface SeqpacketServer {
  stop(): Promise<void>;
}

/** Listens at `path` (mode 0600), replacing a socket left there. Throws with `code`. */
export function listenSeqpacket(
  path: string,
  onConnection: (connection: SeqpacketConnection) => void,
): SeqpacketServer {
  const fd = open();
  const address = encodePath(path);
  fs.rmSync(path, { force: true });
  const bound = libc().bind(fd, address);
  const result = bound < 0 ? bound : libc().listen(fd, 16);
  if (result < 0) {
    libc().close(fd);
    throw systemError(bound < 0 ? 'bind' : 'listen', -result);
  }
  fs.chmodSync(path, 0o600);
  const ended = Promise.withResolvers<void>();
  let stopped = false;
  startWorker({ fd, job: 'accept' }, (report) => {
    if (report.kind === 'end') ended.resolve();
    if (report.kind !== 'accepted') return;
    if (stopped) libc().close(report.fd);
    else onConnection(new SeqpacketConnection(report.fd));
  });
  return {
    stop() {
      if (!stopped) libc().shutdown(fd, SHUT_RDWR);
      stopped = true;
      fs.rmSync(path, { force: true });
      return ended.promise;
    },
  };
}
