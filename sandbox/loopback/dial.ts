// Carries out a dial on a pod's own socket: bind the pod's address, connect, tell ztunnel the
// original destination, answer the pod. Never waits: what does not end at once goes to a list
// that the supervisor polls beside its listener, so a slow connect costs no other pod anything.
import fs from 'node:fs';
import {
  bindAddressNoPort,
  bindSocket,
  connectSocket,
  disconnectSocket,
  errno,
  type Family,
  isNonBlocking,
  localAddress,
  pollFds,
  sendNow,
  setNonBlocking,
  socketError,
} from '../../core/linux/index.ts';
import type { ConnectAction } from './decide.ts';
import { proxyHeader } from './proxy-header.ts';

export type DialAction = Extract<ConnectAction, { do: 'dial' }>;

export interface DialCall {
  readonly id: bigint;
  /** Our descriptor of the pod's socket. */
  readonly fd: number;
  readonly family: Family;
  readonly action: DialAction;
}

interface Waiting extends DialCall {
  readonly nonBlocking: boolean;
  readonly untilMs: number;
}

/** How long a connect may stay unanswered: loopback answers at once unless a backlog is full. */
const blockingLimitMs = 10_000;
const nonBlockingLimitMs = 1_000;
const mostWaiting = 1_024;
const mostUndelivered = 256;
const goesOn = new Set<number>([0, errno.EINPROGRESS, errno.EALREADY, errno.EISCONN]);

export class Dialer {
  readonly #answer: (id: bigint, error: number) => boolean;
  readonly #release: (fd: number, connected: boolean) => void;
  #waiting: Waiting[] = [];
  /** Sockets that were connected while a signal took their caller out of the call: it asks again. */
  readonly #undelivered = new Set<number>();

  /** `answer` is false if nobody waits any more; `release` closes or keeps our descriptor. */
  constructor(
    answer: (id: bigint, error: number) => boolean,
    release: (fd: number, connected: boolean) => void,
  ) {
    this.#answer = answer;
    this.#release = release;
  }

  /** Our descriptors to poll for writing. */
  get waiting(): readonly { readonly fd: number }[] {
    return this.#waiting;
  }

  start(call: DialCall, nowMs: number): void {
    const { fd, family, action } = call;
    if (action.from !== undefined) {
      const error = bindSource(fd, family, action.from);
      if (error !== 0) return this.#finish(call, error);
    }
    const nonBlocking = isNonBlocking(fd);
    if (!nonBlocking) setNonBlocking(fd, true);
    const result = connectSocket(fd, family, action.to.ip, action.to.port);
    const pending: Waiting = {
      ...call,
      nonBlocking,
      untilMs: nowMs + (nonBlocking ? nonBlockingLimitMs : blockingLimitMs),
    };
    if (result !== -errno.EINPROGRESS) return this.#settle(pending, -result);
    if (pollFds([{ fd, want: 'write' }], 0)[0]) return this.#settle(pending, resultOf(pending));
    // A direct connect of a non-blocking program needs nobody any more.
    if (nonBlocking && !action.announce) return this.#settle(pending, errno.EINPROGRESS);
    if (this.#waiting.length >= mostWaiting) return this.#settle(pending, errno.ECONNREFUSED);
    this.#waiting.push(pending);
  }

  /** After a poll: `ready[i]` belongs to `waiting[i]`. */
  proceed(ready: readonly boolean[], nowMs: number): void {
    const before = this.#waiting;
    this.#waiting = [];
    before.forEach((call, i) => {
      if (ready[i]) this.#settle(call, resultOf(call));
      else if (nowMs >= call.untilMs) this.#settle(call, errno.ETIMEDOUT);
      else this.#waiting.push(call);
    });
  }

  close(): void {
    for (const call of this.#waiting) this.#settle(call, errno.ECONNREFUSED);
    this.#waiting = [];
  }

  #settle(call: Waiting, error: number): void {
    let outcome = error;
    if (outcome === 0 && call.action.announce) outcome = announce(call.fd, call.action);
    if (outcome === errno.EISCONN && this.#undelivered.delete(inodeOf(call.fd))) outcome = 0;
    // Or it might come up later without its header; and a socket left "connecting" by a failure
    // would answer the program's next connect with that failure once more.
    if (!goesOn.has(outcome)) disconnectSocket(call.fd);
    if (!call.nonBlocking) setNonBlocking(call.fd, false);
    this.#finish(call, outcome);
  }

  #finish(call: DialCall, error: number): void {
    const delivered = this.#answer(call.id, error);
    if (!delivered && error === 0) {
      if (this.#undelivered.size >= mostUndelivered) this.#undelivered.clear();
      this.#undelivered.add(inodeOf(call.fd));
    }
    this.#release(call.fd, error === 0);
  }
}

/**
 * How a connect in progress ended. Asking by `connect` as well tells the kernel that it is done:
 * else the program's next connect would succeed once more instead of giving EISCONN.
 */
function resultOf({ fd, family, action }: DialCall): number {
  const error = socketError(fd);
  return error === 0 ? -connectSocket(fd, family, action.to.ip, action.to.port) : error;
}

/** 0, or the errno the pod sees: a source that is not its own address is not there for it. */
function bindSource(fd: number, family: Family, ip: string): number {
  const local = localAddress(fd);
  if (local.family !== 'inet' && local.family !== 'inet6') return errno.EINVAL;
  if (!local.any) return local.ip === ip ? 0 : errno.EADDRNOTAVAIL;
  if (local.port !== 0) return 0; // bound to a port on "any" before the pod was captured
  bindAddressNoPort(fd);
  return -bindSocket(fd, family, ip, 0);
}

/** Sends the header; a fresh connection always has room for it. 0, or an errno. */
function announce(fd: number, action: DialAction): number {
  const local = localAddress(fd);
  const source = local.family === 'inet' || local.family === 'inet6' ? local : undefined;
  if (!source || !action.announce) return errno.ECONNREFUSED;
  const header = proxyHeader({ ip: source.ip, port: source.port }, action.announce);
  if (sendNow(fd, header) === header.length) return 0;
  return errno.ECONNREFUSED;
}

const inodeOf = (fd: number): number => fs.fstatSync(fd).ino;
