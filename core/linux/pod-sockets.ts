// Sockets made inside a network namespace, with what a transparent proxy needs: mark, transparency,
// a source address that is not ours, the destination before a redirect (dependencies.md section 3).
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import type net from 'node:net';
import { formatIp, type IpAddress, type IpPort, isIpv6, parseIpBytes } from '../base/index.ts';
import { libc } from './calls.ts';
import { inNamespace, type NamespaceFd, systemError } from './netns.ts';
import {
  AF_INET,
  AF_INET6,
  errno,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from './numbers.ts';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const SO_MARK = 36;
const SOL_IP = 0;
const IP_TRANSPARENT = 19;
const IP_FREEBIND = 15;
const SO_ORIGINAL_DST = 80;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_TRANSPARENT = 75;
const IPV6_FREEBIND = 78;

/** `sockaddr_in` (16 bytes) or `sockaddr_in6` (28). */
export function encodeIpPort({ ip, port }: IpPort): Buffer {
  const address = parseIpBytes(ip);
  if (!address) throw systemError('address', errno.EINVAL);
  const six = isIpv6(ip);
  const bytes = Buffer.alloc(six ? 28 : 16);
  bytes.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(address, six ? 8 : 4);
  return bytes;
}

function decodeIpPort(bytes: Buffer): IpPort | undefined {
  const family = bytes.readUInt16LE(0);
  const raw = family === AF_INET ? bytes.subarray(4, 8) : bytes.subarray(8, 24);
  const ip = formatIp(raw);
  return ip && { ip, port: bytes.readUInt16BE(2) };
}

function set(fd: number, level: number, name: number, value: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return libc().setsockopt(fd, level, name, bytes);
}

function must(syscall: string, result: number): number {
  if (result < 0) throw systemError(syscall, -result);
  return result;
}

/** Runs `work`; closes the descriptor if it throws. */
function guarded(fd: number, work: () => void): number {
  try {
    work();
    return fd;
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

const open = (ip: IpAddress, type: number): number =>
  must(
    'socket',
    libc().socket(isIpv6(ip) ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
  );

const openTcp = (ip: IpAddress): number => open(ip, SOCK_STREAM);

export interface ListenInside {
  readonly at: IpPort;
  /** SO_MARK; 0 = none. */
  readonly mark: number;
  readonly reusePort: boolean;
  readonly backlog: number;
  /** `try`: as Istio does, take what the kernel allows. */
  readonly transparent: 'no' | 'try' | 'must';
}

export interface ListeningFd {
  /** For `server.listen({ fd })`. */
  readonly fd: number;
  readonly transparent: boolean;
}

/** A listening TCP socket inside the namespace; an IPv6 one takes IPv6 alone. Throws with `code`. */
export function listenInside(ns: NamespaceFd, options: ListenInside): ListeningFd {
  return inNamespace(ns, () => {
    const { at, mark, reusePort, backlog } = options;
    const fd = openTcp(at.ip);
    let transparent = false;
    guarded(fd, () => {
      set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      if (reusePort) must('SO_REUSEPORT', set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
      if (mark !== 0) must('SO_MARK', set(fd, SOL_SOCKET, SO_MARK, mark));
      if (isIpv6(at.ip)) must('IPV6_V6ONLY', set(fd, SOL_IPV6, IPV6_V6ONLY, 1));
      if (options.transparent !== 'no') {
        const result = setTransparent(fd, at.ip);
        if (options.transparent === 'must') must('IP_TRANSPARENT', result);
        transparent = result >= 0;
      }
      must('bind', libc().bind(fd, encodeIpPort(at)));
      must('listen', libc().listen(fd, backlog));
    });
    return { fd, transparent };
  });
}

const setTransparent = (fd: number, ip: IpAddress): number =>
  isIpv6(ip) ? set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1) : set(fd, SOL_IP, IP_TRANSPARENT, 1);

export interface SocketInside {
  /** Chooses the family. */
  readonly to: IpAddress;
  readonly mark: number;
  /** Source address, which need not be ours: the answers must be routed back (rules do that). */
  readonly from?: IpAddress | undefined;
}

/**
 * An unconnected TCP socket inside the namespace, for `new net.Socket({ fd })` and `connect` **in the
 * same tick**. Throws with `code`: EPERM without CAP_NET_ADMIN.
 */
export function socketInside(ns: NamespaceFd, options: SocketInside): number {
  return inNamespace(ns, () => {
    const { to, mark, from } = options;
    const fd = openTcp(to);
    return guarded(fd, () => {
      if (mark !== 0) must('SO_MARK', set(fd, SOL_SOCKET, SO_MARK, mark));
      if (from === undefined) return;
      must('IP_TRANSPARENT', setTransparent(fd, from));
      const freebind = isIpv6(from)
        ? set(fd, SOL_IPV6, IPV6_FREEBIND, 1)
        : set(fd, SOL_IP, IP_FREEBIND, 1);
      must('IP_FREEBIND', freebind);
      must('bind', libc().bind(fd, encodeIpPort({ ip: from, port: 0 })));
    });
  });
}

export interface UdpInside {
  /** Port 0 = any free one, by the kernel's chance. */
  readonly at: IpPort;
  /** SO_MARK; 0 = none. */
  readonly mark: number;
  readonly reusePort: boolean;
}

/** A bound UDP socket inside the namespace; an IPv6 one takes IPv6 alone. Throws with `code`. */
export function udpInside(ns: NamespaceFd, options: UdpInside): UdpSocket {
  const { at, mark, reusePort } = options;
  const fd = inNamespace(ns, () => {
    const made = open(at.ip, SOCK_DGRAM);
    return guarded(made, () => {
      if (reusePort) must('SO_REUSEPORT', set(made, SOL_SOCKET, SO_REUSEPORT, 1));
      if (mark !== 0) must('SO_MARK', set(made, SOL_SOCKET, SO_MARK, mark));
      if (isIpv6(at.ip)) must('IPV6_V6ONLY', set(made, SOL_IPV6, IPV6_V6ONLY, 1));
      must('bind', libc().bind(made, encodeIpPort(at)));
    });
  });
  const socket = createSocket(isIpv6(at.ip) ? 'udp6' : 'udp4');
  socket.on('error', () => {});
  return socket.bind({ fd });
}

/**
 * Where a connection went before a redirect, as connection tracking remembers it; `undefined` if it
 * knows nothing of it. A tracked connection that was not redirected answers its own local address.
 */
export function originalDestination(fd: number, family: 'IPv4' | 'IPv6'): IpPort | undefined {
  const six = family === 'IPv6';
  const bytes = Buffer.alloc(six ? 28 : 16);
  const result = libc().getsockopt(fd, six ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, bytes);
  return result < 0 ? undefined : decodeIpPort(bytes);
}

/** The descriptor of a listening, accepted or connecting socket. Internal to Node, but stable from 20 to 26. */
export function fdOf(socket: net.Socket | net.Server): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: unknown } })._handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
