// Kernel structures as bytes (64-bit, little-endian): seccomp notifications and socket addresses.
// Pure: buffers in, plain values out.
import { AF_INET, AF_INET6, AF_UNIX } from './numbers.ts';

/** One trapped system call: `struct seccomp_notif`, 80 bytes. */
export interface Notification {
  readonly id: bigint;
  /** A *thread* id. */
  readonly tid: number;
  readonly nr: number;
  readonly args: readonly bigint[];
}

export const NOTIFICATION_BYTES = 80;

export function decodeNotification(bytes: Buffer): Notification {
  const args: bigint[] = [];
  for (let i = 0; i < 6; i++) args.push(bytes.readBigUInt64LE(32 + 8 * i));
  return {
    id: bytes.readBigUInt64LE(0),
    tid: bytes.readUInt32LE(8),
    nr: bytes.readInt32LE(16),
    args,
  };
}

/** The low 32 bits of an argument, signed: how the kernel reads an `int`. */
export function intArgument(value: bigint | undefined): number {
  return Number(BigInt.asIntN(32, value ?? 0n));
}

/** What the trapped call returns: let it run as it stands, or a value, or an errno. */
export type Reply =
  | { readonly do: 'continue' }
  | { readonly do: 'value'; readonly value: number }
  | { readonly do: 'errno'; readonly errno: number };

/** `struct seccomp_notif_resp`, 24 bytes. */
export function encodeReply(id: bigint, reply: Reply): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeBigUInt64LE(id, 0);
  if (reply.do === 'continue') bytes.writeUInt32LE(1, 20);
  else if (reply.do === 'value') bytes.writeBigInt64LE(BigInt(reply.value), 8);
  else bytes.writeInt32LE(-reply.errno, 16);
  return bytes;
}

/** `struct seccomp_notif_addfd`, 24 bytes: give `fd` to the caller and make its number the result. */
export function encodeAddFd(id: bigint, fd: number, cloexec: boolean): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeBigUInt64LE(id, 0);
  bytes.writeUInt32LE(2, 8); // ADDFD_FLAG_SEND: the answer in the same step
  bytes.writeUInt32LE(fd, 12);
  bytes.writeUInt32LE(cloexec ? 0o2000000 : 0, 20);
  return bytes;
}

/** A socket address a program named. `ip` is dotted IPv4 where the IPv6 form is mapped. */
export type SocketAddress =
  | {
      readonly family: 'inet' | 'inet6';
      readonly ip: string;
      readonly port: number;
      /** 0.0.0.0 or `::`. */
      readonly any: boolean;
      /** An IPv6 address that is no mapped IPv4 one; `ip` is then hexadecimal and not canonical. */
      readonly v6: boolean;
    }
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'other'; readonly number: number };

export function decodeSocketAddress(bytes: Buffer): SocketAddress {
  if (bytes.length < 2) return { family: 'other', number: -1 };
  const family = bytes.readUInt16LE(0);
  if (family === AF_INET && bytes.length >= 8) {
    const any = bytes.readUInt32BE(4) === 0;
    const ip = [...bytes.subarray(4, 8)].join('.');
    return { family: 'inet', ip, port: bytes.readUInt16BE(2), any, v6: false };
  }
  if (family === AF_INET6 && bytes.length >= 24) {
    const port = bytes.readUInt16BE(2);
    const address = bytes.subarray(8, 24);
    const mapped = address.readUInt16BE(10) === 0xffff && address.subarray(0, 10).every(isZero);
    if (mapped) {
      const ip = [...address.subarray(12)].join('.');
      return { family: 'inet6', ip, port, any: ip === '0.0.0.0', v6: false };
    }
    const any = address.every(isZero);
    return { family: 'inet6', ip: address.toString('hex'), port, any, v6: !any };
  }
  if (family === AF_UNIX) {
    const path = bytes.subarray(2).toString('latin1').split('\0')[0] ?? '';
    return { family: 'unix', path };
  }
  return { family: 'other', number: family };
}

const isZero = (byte: number): boolean => byte === 0;

/** `sockaddr_in` (16 bytes), or `sockaddr_in6` (28) with the IPv4 address mapped. */
export function encodeSocketAddress(family: 'inet' | 'inet6', ip: string, port: number): Buffer {
  const four = Buffer.from(ip.split('.').map(Number));
  if (family === 'inet') {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt16LE(AF_INET, 0);
    bytes.writeUInt16BE(port, 2);
    four.copy(bytes, 4);
    return bytes;
  }
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.writeUInt16BE(0xffff, 18);
  four.copy(bytes, 20);
  return bytes;
}

/** `sockaddr_in6` of `::1`. */
export function encodeLoopback6(port: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes[23] = 1;
  return bytes;
}
