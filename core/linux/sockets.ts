// Sockets by file descriptor, for code that acts on another process's socket or on the kernel's
// own terms. Results follow calls.ts: a value ≥ 0, or a negated errno.
import { libc } from './calls.ts';
import { errno, SOCK_CLOEXEC } from './numbers.ts';
import { decodeSocketAddress, encodeSocketAddress, type SocketAddress } from './structs.ts';

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_ERROR = 4;
const SO_DOMAIN = 39;
const SOL_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const POLLOUT = 4;

export type Family = 'inet' | 'inet6';

export const openSocket = (family: number, type: number, protocol: number): number =>
  libc().socket(family, type | SOCK_CLOEXEC, protocol);

export const closeFd = (fd: number): void => void libc().close(fd);

export const bindSocket = (fd: number, family: Family, ip: string, port: number): number =>
  libc().bind(fd, encodeSocketAddress(family, ip, port));

export const bindBytes = (fd: number, address: Buffer): number => libc().bind(fd, address);

export const connectSocket = (fd: number, family: Family, ip: string, port: number): number =>
  libc().connect(fd, encodeSocketAddress(family, ip, port));

/** Ends a connection or a connect in progress; the socket can be connected anew. */
export const disconnectSocket = (fd: number): number => libc().connect(fd, Buffer.alloc(16));

export const listenSocket = (fd: number, backlog: number): number => libc().listen(fd, backlog);

/** Never waits and raises no signal; a short write is possible and is the caller's to judge. */
export const sendNow = (fd: number, bytes: Buffer): number =>
  libc().send(fd, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

function option(fd: number, level: number, name: number): number {
  const bytes = Buffer.alloc(4);
  const result = libc().getsockopt(fd, level, name, bytes);
  return result < 0 ? result : bytes.readInt32LE();
}

export const socketType = (fd: number): number => option(fd, SOL_SOCKET, SO_TYPE);
export const socketDomain = (fd: number): number => option(fd, SOL_SOCKET, SO_DOMAIN);
/** The pending error (a positive errno, 0 = none), which reading clears. */
export const socketError = (fd: number): number => option(fd, SOL_SOCKET, SO_ERROR);
export const isV6Only = (fd: number): boolean => option(fd, SOL_IPV6, IPV6_V6ONLY) === 1;

/**
 * Lets `bind` to an address leave the port to `connect`, so that many connections share a port
 * with different destinations (without it about 28,000 per source address).
 */
export function bindAddressNoPort(fd: number): void {
  const one = Buffer.alloc(4);
  one.writeInt32LE(1);
  libc().setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, one);
}

export function localAddress(fd: number): SocketAddress {
  const bytes = Buffer.alloc(28);
  if (libc().getsockname(fd, bytes) < 0) return { family: 'other', number: -1 };
  return decodeSocketAddress(bytes);
}

/** Whether the descriptor's description is non-blocking. */
export const isNonBlocking = (fd: number): boolean =>
  (libc().fcntl(fd, F_GETFL, 0) & O_NONBLOCK) !== 0;

/** Changes the shared description, so for every process that holds it. */
export function setNonBlocking(fd: number, on: boolean): void {
  const flags = libc().fcntl(fd, F_GETFL, 0);
  if (flags < 0) return;
  libc().fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

export interface PollEntry {
  readonly fd: number;
  readonly want: 'read' | 'write';
}

/** Which entries have something to tell (also errors and hang-ups); empty after `timeoutMs`. */
export function pollFds(entries: readonly PollEntry[], timeoutMs: number): boolean[] {
  const bytes = Buffer.alloc(8 * entries.length);
  entries.forEach((entry, i) => {
    bytes.writeInt32LE(entry.fd, 8 * i);
    bytes.writeInt16LE(entry.want === 'read' ? POLLIN : POLLOUT, 8 * i + 4);
  });
  const ready = libc().poll(bytes, entries.length, timeoutMs);
  return entries.map((_, i) => ready > 0 && bytes.readInt16LE(8 * i + 6) !== 0);
}

/** A counter to wake a thread that sits in `pollFds`; write 8 bytes of a u64 > 0 to ring it. */
export const openWaker = (): number => libc().eventfd(0, O_NONBLOCK | SOCK_CLOEXEC);

/** A pipe whose ends do not leak into children. Throws when the process is out of descriptors. */
export function openPipe(): { readonly read: number; readonly write: number } {
  const bytes = Buffer.alloc(8);
  const result = libc().pipe2(bytes, SOCK_CLOEXEC);
  if (result < 0) throw new Error(`pipe2: errno ${-result}`);
  return { read: bytes.readInt32LE(0), write: bytes.readInt32LE(4) };
}

export const isPending = (result: number): boolean => result === -errno.EINPROGRESS;
