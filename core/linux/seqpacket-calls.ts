// Messages with file descriptors on a SOCK_SEQPACKET socket: sendmsg and recvmsg by hand, for 64-bit
// machines. Layout of one block: msghdr 56 · iovec 16 · control 64 · data.
import { libc } from './calls.ts';
import { errno } from './numbers.ts';

/** Far above the 1024 bytes that ZDS allows. */
export const maxMessageBytes = 4096;

const iovecAt = 56;
const controlAt = 72;
const controlBytes = 64;
const dataAt = controlAt + controlBytes;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

let block: { readonly address: bigint; readonly bytes: Buffer } | undefined;

/** One per thread: calls are synchronous. */
function prepared(dataBytes: number, control: number): { address: bigint; bytes: Buffer } {
  block ??= libc().block(dataAt + maxMessageBytes);
  const { address, bytes } = block;
  bytes.fill(0, 0, dataAt);
  bytes.writeBigUInt64LE(address + BigInt(iovecAt), 16);
  bytes.writeBigUInt64LE(1n, 24);
  if (control > 0) bytes.writeBigUInt64LE(address + BigInt(controlAt), 32);
  bytes.writeBigUInt64LE(BigInt(control), 40);
  bytes.writeBigUInt64LE(address + BigInt(dataAt), iovecAt);
  bytes.writeBigUInt64LE(BigInt(dataBytes), iovecAt + 8);
  return { address, bytes };
}

/** Sends one message, with a descriptor or without; 0 or a negated errno. Never waits. */
export function sendPacket(fd: number, message: Uint8Array, pass: number | undefined): number {
  if (message.length > maxMessageBytes) return -90;
  const { address, bytes } = prepared(message.length, pass === undefined ? 0 : 24);
  bytes.set(message, dataAt);
  if (pass !== undefined) {
    bytes.writeBigUInt64LE(20n, controlAt);
    bytes.writeInt32LE(SOL_SOCKET, controlAt + 8);
    bytes.writeInt32LE(SCM_RIGHTS, controlAt + 12);
    bytes.writeInt32LE(pass, controlAt + 16);
  }
  const sent = libc().sendmsg(fd, address, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? sent : 0;
}

export interface Packet {
  readonly bytes: Uint8Array;
  /** The receiver's to close. */
  readonly fds: readonly number[];
  /** Data or descriptors were cut off: nothing of it can be used. */
  readonly truncated: boolean;
}

/** Waits for the next message; `undefined` = the other end has closed, a number = a negated errno. */
export function receivePacket(fd: number): Packet | undefined | number {
  for (;;) {
    const { address, bytes } = prepared(maxMessageBytes, controlBytes);
    const got = libc().recvmsg(fd, address, MSG_CMSG_CLOEXEC);
    if (got === -errno.EINTR) continue;
    if (got < 0) return got;
    const fds = readFds(bytes);
    if (got === 0 && fds.length === 0) return undefined;
    const flags = bytes.readInt32LE(48);
    return {
      bytes: Uint8Array.from(bytes.subarray(dataAt, dataAt + got)),
      fds,
      truncated: (flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0,
    };
  }
}

function readFds(bytes: Buffer): number[] {
  const used = Number(bytes.readBigUInt64LE(40));
  const out: number[] = [];
  for (let at = controlAt; at + 16 <= controlAt + used; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    if (length < 16) break;
    const rights =
      bytes.readInt32LE(at + 8) === SOL_SOCKET && bytes.readInt32LE(at + 12) === SCM_RIGHTS;
    const end = Math.min(at + length, controlAt + used);
    if (rights) for (let i = at + 16; i + 4 <= end; i += 4) out.push(bytes.readInt32LE(i));
    at += Math.ceil(length / 8) * 8;
  }
  return out;
}
