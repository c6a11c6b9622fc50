// The one place that talks to koffi: libc functions with plain numbers and Buffers. Every function
// returns what the kernel would: a value ≥ 0, or a negated errno. Loaded on first use, so that
// programs which only import this folder run where koffi has no build, and do not hold its 8 MB.
import { createRequire } from 'node:module';
import type Koffi from 'koffi';

export interface Libc {
  syscall(nr: number, a?: number, b?: number, c?: number | Buffer): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  ioctl(fd: number, request: number, bytes: Buffer): number;
  fcntl(fd: number, command: number, value: number): number;
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer): number;
  connect(fd: number, address: Buffer): number;
  listen(fd: number, backlog: number): number;
  poll(bytes: Buffer, count: number, timeoutMs: number): number;
  getsockopt(fd: number, level: number, name: number, bytes: Buffer): number;
  setsockopt(fd: number, level: number, name: number, bytes: Buffer): number;
  getsockname(fd: number, bytes: Buffer): number;
  send(fd: number, bytes: Buffer, flags: number): number;
  eventfd(initial: number, flags: number): number;
  pipe2(bytes: Buffer, flags: number): number;
  close(fd: number): number;
  setns(fd: number, kind: number): number;
  accept4(fd: number, flags: number): number;
  shutdown(fd: number, how: number): number;
  /** `header` = address of a `struct msghdr`. */
  sendmsg(fd: number, header: bigint, flags: number): number;
  recvmsg(fd: number, header: bigint, flags: number): number;
  recv(fd: number, bytes: Buffer, flags: number): number;
  /** Zeroed memory that does not move, until the process ends. */
  block(size: number): { readonly address: bigint; readonly bytes: Buffer };
  /** Address and keeper of a copy of `bytes` in memory that does not move. */
  pin(bytes: Buffer): { readonly address: bigint; readonly keep: unknown };
}

type Native = (...values: unknown[]) => number | bigint;

let loaded: Libc | undefined;

/** Throws where koffi has no build for this machine. */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const library = koffi.load(null); // libc is already in the process, glibc's or musl's
  const native = (declaration: string): ((...values: unknown[]) => number) => {
    const call = library.func(declaration) as unknown as Native;
    return (...values) => {
      const result = Number(call(...values));
      return result < 0 ? -koffi.errno() : result;
    };
  };
  const syscall = native('long syscall(long, long, long, void*)');
  const prctl = native('int prctl(int, ulong, ulong, ulong, ulong)');
  const ioctl = native('int ioctl(int, ulong, uint8_t*)');
  const fcntl = native('int fcntl(int, int, int)');
  const socket = native('int socket(int, int, int)');
  const bind = native('int bind(int, const uint8_t*, uint32_t)');
  const connect = native('int connect(int, const uint8_t*, uint32_t)');
  const listen = native('int listen(int, int)');
  const poll = native('int poll(uint8_t*, ulong, int)');
  const getsockopt = native('int getsockopt(int, int, int, uint8_t*, uint8_t*)');
  const setsockopt = native('int setsockopt(int, int, int, const uint8_t*, uint32_t)');
  const getsockname = native('int getsockname(int, uint8_t*, uint8_t*)');
  const send = native('int64_t send(int, const uint8_t*, size_t, int)');
  const eventfd = native('int eventfd(uint32_t, int)');
  const pipe2 = native('int pipe2(uint8_t*, int)');
  const close = native('int close(int)');
  const setns = native('int setns(int, int)');
  const accept4 = native('int accept4(int, void*, void*, int)');
  const shutdown = native('int shutdown(int, int)');
  const sendmsg = native('int64_t sendmsg(int, uint64_t, int)');
  const recvmsg = native('int64_t recvmsg(int, uint64_t, int)');
  const recv = native('int64_t recv(int, uint8_t*, size_t, int)');
  const plainSyscall = native('long syscall(long, long, long, long)');
  const lengthOf = (bytes: Buffer): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return length;
  };
  return {
    syscall: (nr, a = 0, b = 0, c = 0) =>
      typeof c === 'number' ? plainSyscall(nr, a, b, c) : syscall(nr, a, b, c),
    prctl,
    ioctl,
    fcntl,
    socket,
    bind: (fd, address) => bind(fd, address, address.length),
    connect: (fd, address) => connect(fd, address, address.length),
    listen,
    poll,
    getsockopt: (fd, level, name, bytes) => getsockopt(fd, level, name, bytes, lengthOf(bytes)),
    setsockopt: (fd, level, name, bytes) => setsockopt(fd, level, name, bytes, bytes.length),
    getsockname: (fd, bytes) => getsockname(fd, bytes, lengthOf(bytes)),
    send: (fd, bytes, flags) => send(fd, bytes, bytes.length, flags),
    eventfd,
    pipe2,
    close,
    setns,
    accept4: (fd, flags) => accept4(fd, null, null, flags),
    shutdown,
    sendmsg,
    recvmsg,
    recv: (fd, bytes, flags) => recv(fd, bytes, bytes.length, flags),
    block(size) {
      const memory: unknown = koffi.alloc('uint8_t', size);
      const bytes = Buffer.from(koffi.view(memory, size)).fill(0);
      return { address: BigInt(koffi.address(memory)), bytes };
    },
    pin(bytes) {
      const memory: unknown = koffi.alloc('uint8_t', bytes.length);
      Buffer.from(koffi.view(memory, bytes.length)).set(bytes);
      return { address: BigInt(koffi.address(memory)), keep: memory };
    },
  };
}
