// Kernel numbers this folder needs, for the two machines the product runs on. Pure data.

/** System call numbers. `open` exists on x64 alone (musl uses it beside `openat`). */
export interface CallNumbers {
  readonly socket: number;
  readonly connect: number;
  readonly bind: number;
  readonly listen: number;
  readonly sendto: number;
  readonly sendmsg: number;
  readonly open: number | undefined;
  readonly openat: number;
  readonly seccomp: number;
  readonly pidfdOpen: number;
  readonly pidfdGetfd: number;
  readonly ioUringSetup: number;
  /** `AUDIT_ARCH_*` of the machine. */
  readonly arch: number;
}

const x64: CallNumbers = {
  socket: 41,
  connect: 42,
  bind: 49,
  listen: 50,
  sendto: 44,
  sendmsg: 46,
  open: 2,
  openat: 257,
  seccomp: 317,
  pidfdOpen: 434,
  pidfdGetfd: 438,
  ioUringSetup: 425,
  arch: 0xc000003e,
};

const arm64: CallNumbers = {
  socket: 198,
  connect: 203,
  bind: 200,
  listen: 201,
  sendto: 206,
  sendmsg: 211,
  open: undefined,
  openat: 56,
  seccomp: 277,
  pidfdOpen: 434,
  pidfdGetfd: 438,
  ioUringSetup: 425,
  arch: 0xc00000b7,
};

/** The numbers of a `process.arch`, or `undefined` for a machine this project does not know. */
export function callNumbers(arch: string): CallNumbers | undefined {
  if (arch === 'x64') return x64;
  if (arch === 'arm64') return arm64;
  return undefined;
}

/** errno values, equal on both machines. */
export const errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EINVAL: 22,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETUNREACH: 101,
  ECONNRESET: 104,
  EISCONN: 106,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EALREADY: 114,
  EINPROGRESS: 115,
} as const;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
