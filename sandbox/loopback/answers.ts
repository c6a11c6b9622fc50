// One trapped call of a pod's process: read what it asks, decide, carry out, answer. The shell
// around decide.ts; runs on the supervisor's thread and never waits.
import fs from 'node:fs';
import type { Random } from '../../core/base/index.ts';
import {
  AF_INET,
  AF_INET6,
  bindBytes,
  bindSocket,
  type CallNumbers,
  closeFd,
  decodeSocketAddress,
  encodeLoopback6,
  errno,
  type Family,
  intArgument,
  isV6Only,
  isWaiting,
  localAddress,
  type Notification,
  openSocket,
  reply,
  replyWithFd,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  socketType,
} from '../../core/linux/index.ts';
import { type Caller, callerOf, isOurChild, readMemory, readText } from './caller.ts';
import {
  type CaptureView,
  decideBind,
  decideConnect,
  isHostsPath,
  isNameServiceSocket,
  type PodView,
} from './decide.ts';
import type { Descriptors } from './descriptors.ts';
import type { Dialer } from './dial.ts';

/** A session of a pod: its address, and the ports it bound on "any". */
export interface Session {
  readonly ip: string;
  readonly ports: Set<number>;
}

export interface AnswerContext {
  readonly listener: number;
  readonly numbers: CallNumbers;
  readonly descriptors: Descriptors;
  readonly dialer: Dialer;
  readonly random: Random;
  readonly view: CaptureView;
  session(id: number): Session | undefined;
  /** Whether sockets of processes are made here (descriptors.ts, `copies`). */
  readonly makesSockets: boolean;
}

/** `later`: the pod's session is not known yet; ask again when it may be. */
export type Outcome = 'answered' | 'later';

const longestAddress = 110; // sockaddr_un
const mostPorts = 1_024;

/** `last`: a call from an unknown session is refused now instead of put off. */
export function answer(call: Notification, context: AnswerContext, last: boolean): Outcome {
  const { listener, numbers } = context;
  try {
    switch (call.nr) {
      case numbers.socket:
        return answerSocket(call, context);
      case numbers.listen:
        context.descriptors.forget(call.tid, intArgument(call.args[0]));
        return pass(call, context);
      case numbers.bind:
        return answerBind(call, context, last);
      case numbers.connect:
        return answerConnect(call, context, last);
      case numbers.openat:
        return answerOpen(call, call.args[1] ?? 0n, call.args[2], context, last);
      case numbers.open:
        return answerOpen(call, call.args[0] ?? 0n, call.args[1], context, last);
      default:
        return pass(call, context);
    }
  } catch {
    // Its memory or its files cannot be read: the thread is gone, or it is not ours to judge. What
    // cannot be judged must not connect.
    if (call.nr === numbers.connect) reply(listener, call.id, { do: 'errno', errno: errno.EACCES });
    else reply(listener, call.id, { do: 'continue' });
    return 'answered';
  }
}

function pass(call: Notification, context: AnswerContext): Outcome {
  reply(context.listener, call.id, { do: 'continue' });
  return 'answered';
}

function refuse(call: Notification, context: AnswerContext, error: number): Outcome {
  reply(context.listener, call.id, { do: 'errno', errno: error });
  return 'answered';
}

/** A call from a session that is not registered: put off, or refused if it never will be. */
function stranger(
  call: Notification,
  caller: Caller,
  context: AnswerContext,
  last: boolean,
): Outcome {
  if (!last && isOurChild(caller.session)) return 'later';
  return refuse(call, context, errno.EACCES);
}

/** The caller and its pod; `undefined` pod = a session that is not (yet) registered. */
function whoCalls(
  call: Notification,
  context: AnswerContext,
): { caller: Caller; session: Session | undefined; pod: PodView | undefined } {
  const caller = callerOf(call.tid);
  const session = context.session(caller.session);
  return { caller, session, pod: session && context.view.pods.get(session.ip) };
}

function answerOpen(
  call: Notification,
  path: bigint,
  flags: bigint | undefined,
  context: AnswerContext,
  last: boolean,
): Outcome {
  if (!isHostsPath(readText(call.tid, path, 16))) return pass(call, context);
  const { caller, pod } = whoCalls(call, context);
  if (!pod) return stranger(call, caller, context, last);
  const file = fs.openSync(pod.hosts, 'r');
  try {
    const cloexec = (intArgument(flags) & SOCK_CLOEXEC) !== 0; // the same bit as O_CLOEXEC
    replyWithFd(context.listener, call.id, file, cloexec);
  } finally {
    fs.closeSync(file);
  }
  return 'answered';
}

function answerSocket(call: Notification, context: AnswerContext): Outcome {
  const family = intArgument(call.args[0]);
  const type = intArgument(call.args[1]);
  const isTcp = (family === AF_INET || family === AF_INET6) && (type & 15) === SOCK_STREAM;
  if (!isTcp || !context.makesSockets) return pass(call, context);
  const fd = openSocket(family, type, intArgument(call.args[2]));
  if (fd < 0) return refuse(call, context, -fd);
  const given = replyWithFd(context.listener, call.id, fd, (type & SOCK_CLOEXEC) !== 0);
  if (given) context.descriptors.keep(fd);
  else closeFd(fd);
  return 'answered';
}

function addressOf(call: Notification): ReturnType<typeof decodeSocketAddress> {
  const length = Math.min(Math.max(intArgument(call.args[2]), 0), longestAddress);
  return decodeSocketAddress(readMemory(call.tid, call.args[1] ?? 0n, length));
}

function answerBind(call: Notification, context: AnswerContext, last: boolean): Outcome {
  const to = addressOf(call);
  if (to.family !== 'inet' && to.family !== 'inet6') return pass(call, context);
  if (to.v6 || (!to.any && !to.ip.startsWith('127.'))) return pass(call, context);
  const { caller, session, pod } = whoCalls(call, context);
  if (!session || !pod) return stranger(call, caller, context, last);
  const action = decideBind(to, pod, context.view.block);
  if (action.do === 'pass') return pass(call, context);
  if (action.do === 'refuse') return refuse(call, context, errno.EADDRNOTAVAIL);
  const fd = context.descriptors.take(call.tid, caller.pid, intArgument(call.args[0]));
  if (fd < 0) return pass(call, context); // no socket, or one that was not made for TCP
  if (socketType(fd) !== SOCK_STREAM || !isWaiting(context.listener, call.id)) {
    closeFd(fd);
    return pass(call, context);
  }
  const result = bindOwn(fd, to.family, pod.ip, to.port);
  if (result === 0) notePort(session, fd);
  if (context.makesSockets)
    context.descriptors.keep(fd); // it may yet connect; listen() drops it
  else closeFd(fd);
  if (result === 0) reply(context.listener, call.id, { do: 'value', value: 0 });
  else refuse(call, context, -result);
  return 'answered';
}

/** An IPv6-only listener has no IPv4 address to be bound to, and pods no IPv6 one: out of the way. */
function bindOwn(fd: number, family: Family, ip: string, port: number): number {
  if (family === 'inet6' && isV6Only(fd)) return bindBytes(fd, encodeLoopback6(0));
  return bindSocket(fd, family, ip, port);
}

function notePort(session: Session, fd: number): void {
  const local = localAddress(fd);
  if (local.family !== 'inet' && local.family !== 'inet6') return;
  if (session.ports.size < mostPorts && !local.v6) session.ports.add(local.port);
}

function answerConnect(call: Notification, context: AnswerContext, last: boolean): Outcome {
  const { listener, view, random } = context;
  const to = addressOf(call);
  if (to.family === 'unix' && isNameServiceSocket(to.path)) {
    return refuse(call, context, errno.ENOENT);
  }
  if (to.family !== 'inet' && to.family !== 'inet6') return pass(call, context);
  const judged = to.any || to.ip.startsWith('127.') || view.outside.has(to.ip);
  if (to.v6 || !judged) return pass(call, context);
  const { caller, session, pod } = whoCalls(call, context);
  if (!session || !pod) return stranger(call, caller, context, last);
  const target = { ip: to.any ? '0.0.0.0' : to.ip, port: to.port };
  const action = decideConnect(target, pod, view, session.ports, random);
  if (action.do === 'pass') return pass(call, context);
  const fd = context.descriptors.take(call.tid, caller.pid, intArgument(call.args[0]));
  if (fd === -errno.EBADF) return pass(call, context); // the kernel has the right answer
  // Not among the kept ones: it is connected already, and asks how that went. Fails closed if not.
  if (fd === -errno.ENOENT) return refuse(call, context, errno.EISCONN);
  if (fd < 0) return refuse(call, context, errno.EACCES);
  if (socketType(fd) !== SOCK_STREAM) {
    closeFd(fd);
    return pass(call, context);
  }
  if (!isWaiting(listener, call.id)) {
    closeFd(fd);
    return 'answered';
  }
  if (action.do === 'refuse') {
    if (context.makesSockets) context.descriptors.keep(fd);
    else closeFd(fd);
    return refuse(call, context, errno.ECONNREFUSED);
  }
  context.dialer.start({ id: call.id, fd, family: to.family, action }, performance.now());
  return 'answered';
}
