// Seccomp user notification: install a filter on the calling thread, receive its trapped calls
// and answer them from another thread (sandbox.md D1, appendix A).
import os from 'node:os';
import { libc } from './calls.ts';
import { buildFilter, type TrapRule } from './filter.ts';
import { callNumbers, errno } from './numbers.ts';
import {
  decodeNotification,
  encodeAddFd,
  encodeReply,
  NOTIFICATION_BYTES,
  type Notification,
  type Reply,
} from './structs.ts';

const RECEIVE = 0xc0502100;
const SEND = 0xc0182101;
const ID_VALID = 0x40082102;
const ADD_FD = 0x40182103;
const SET_MODE_FILTER = 1;
const GET_NOTIF_SIZES = 3;
const FLAG_NEW_LISTENER = 8;
const FLAG_WAIT_KILLABLE = 32;
const PR_SET_NO_NEW_PRIVS = 38;

export type Availability = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Whether this kernel can answer trapped calls; installing may still be forbidden (see there). */
export function seccompNotifyAvailable(): Availability {
  if (process.platform !== 'linux') return no(`no seccomp on ${process.platform}`);
  const numbers = callNumbers(process.arch);
  if (!numbers) return no(`system call numbers of ${process.arch} are not known`);
  const [major = 0, minor = 0] = os.release().split('.').map(Number);
  if (major < 5 || (major === 5 && minor < 14)) return no(`Linux ${os.release()} is before 5.14`);
  try {
    const sizes = Buffer.alloc(8);
    const result = libc().syscall(numbers.seccomp, GET_NOTIF_SIZES, 0, sizes);
    if (result < 0) return no(`seccomp user notification is refused (errno ${-result})`);
    if (sizes.readUInt16LE(0) > NOTIFICATION_BYTES || sizes.readUInt16LE(2) > 24)
      return no('the kernel uses larger notification structures');
    return { ok: true };
  } catch (error) {
    return no(`koffi cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const no = (reason: string): Availability => ({ ok: false, reason });

/**
 * Installs the filter on the calling thread, for itself and all it forks, for ever; sets
 * no_new_privs. Returns the listener's descriptor (valid in the whole process), or a negated errno
 * (EBUSY: the thread already lives under a filter with a listener).
 */
export function installFilter(rules: readonly TrapRule[]): number {
  const numbers = callNumbers(process.arch);
  if (!numbers) return -errno.ENOSYS;
  const program = buildFilter(numbers.arch, rules);
  const code = libc().pin(program);
  const header = Buffer.alloc(16); // struct sock_fprog
  header.writeUInt16LE(program.length / 8, 0);
  header.writeBigUInt64LE(code.address, 8);
  const set = libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (set < 0) return set;
  // With WAIT_KILLABLE (Linux 5.19) an ordinary signal does not restart a call being answered.
  for (const flags of [FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE, FLAG_NEW_LISTENER]) {
    const fd = libc().syscall(numbers.seccomp, SET_MODE_FILTER, flags, header);
    if (fd !== -errno.EINVAL) return fd;
  }
  return -errno.EINVAL;
}

/** The next trapped call; `undefined` if its thread is gone. Poll the listener first: this waits. */
export function receiveNotification(listener: number): Notification | undefined {
  const bytes = Buffer.alloc(NOTIFICATION_BYTES); // the kernel insists on zeros
  return libc().ioctl(listener, RECEIVE, bytes) === 0 ? decodeNotification(bytes) : undefined;
}

/** False if the call does not wait any more (its thread died, or a signal ended it). */
export const reply = (listener: number, id: bigint, answer: Reply): boolean =>
  libc().ioctl(listener, SEND, encodeReply(id, answer)) >= 0;

/** Gives the caller a copy of `fd` as the call's result. False as in `reply`. */
export const replyWithFd = (listener: number, id: bigint, fd: number, cloexec: boolean): boolean =>
  libc().ioctl(listener, ADD_FD, encodeAddFd(id, fd, cloexec)) >= 0;

/** Whether the call still waits: asked after reading /proc, so that a reused pid is noticed. */
export function isWaiting(listener: number, id: bigint): boolean {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(id, 0);
  return libc().ioctl(listener, ID_VALID, bytes) >= 0;
}

/** A copy of descriptor `fd` of process `pid` (a process, not a thread id), or a negated errno. */
export function takeFd(pid: number, fd: number): number {
  const numbers = callNumbers(process.arch);
  if (!numbers) return -errno.ENOSYS;
  const handle = libc().syscall(numbers.pidfdOpen, pid, 0, 0);
  if (handle < 0) return handle;
  const copy = libc().syscall(numbers.pidfdGetfd, handle, fd, 0);
  libc().close(handle);
  return copy;
}
