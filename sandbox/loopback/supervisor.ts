// Worker thread that answers the trapped calls of every captured process. One loop over poll():
// the notification listener, a waker for the main thread's messages, and connects in progress.
// It never goes back to Node's event loop, so a call is answered within tens of microseconds.
import fs from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { seededRandom } from '../../core/base/index.ts';
import {
  callNumbers,
  closeFd,
  errno,
  type Notification,
  type PollEntry,
  pollFds,
  receiveNotification,
  reply,
} from '../../core/linux/index.ts';
import { type AnswerContext, answer, type Session } from './answers.ts';
import type { CaptureView } from './decide.ts';
import { openDescriptors } from './descriptors.ts';
import { Dialer } from './dial.ts';
import type { SupervisorData, SupervisorOrder, SupervisorReport } from './messages.ts';

const port = parentPort;
if (!port) throw new Error('supervisor.ts runs as a worker thread');
const { listener, waker, sockets, seed } = workerData as SupervisorData;
const numbers = callNumbers(process.arch);
if (!numbers) throw new Error(`no system call numbers for ${process.arch}`);
const report = (message: SupervisorReport): void => port.postMessage(message);

const sessions = new Map<number, Session>();
/** Pods' port sets by address: several containers and exec sessions of a pod share them. */
const ports = new Map<string, Set<number>>();
const descriptors = openDescriptors(sockets);
const dialer = new Dialer(
  (id, error) =>
    reply(listener, id, error === 0 ? { do: 'value', value: 0 } : { do: 'errno', errno: error }),
  (fd, connected) => {
    if (connected || sockets === 'take') closeFd(fd);
    else descriptors.keep(fd); // it may be connected again
  },
);
let view: CaptureView = { block: 0, pods: new Map(), services: new Map(), outside: new Set() };
let stopped = false;

const context: AnswerContext = {
  listener,
  numbers,
  descriptors,
  dialer,
  random: seededRandom(seed),
  get view() {
    return view;
  },
  session: (id) => sessions.get(id),
  makesSockets: sockets === 'copies',
};

/** Calls from sessions the main thread has not announced yet: a process is quicker than its news. */
interface PutOff {
  readonly call: Notification;
  readonly untilMs: number;
}
let putOff: PutOff[] = [];
const patienceMs = 5_000;
const mostPutOff = 256;

function obey(order: SupervisorOrder): void {
  switch (order.kind) {
    case 'view':
      view = order.view;
      for (const ip of ports.keys()) if (!view.pods.has(ip)) ports.delete(ip);
      report({ kind: 'view-applied', id: order.id });
      return;
    case 'session': {
      const shared = ports.get(order.ip) ?? new Set<number>();
      ports.set(order.ip, shared);
      sessions.set(order.session, { ip: order.ip, ports: shared });
      return;
    }
    case 'end':
      sessions.delete(order.session);
      return;
    case 'stop':
      stopped = true;
      return;
  }
}

/** True if there was anything. */
function readOrders(): boolean {
  let any = false;
  for (let m = receiveMessageOnPort(port as MessagePortLike); m; any = true) {
    obey(m.message as SupervisorOrder);
    m = receiveMessageOnPort(port as MessagePortLike);
  }
  return any;
}
type MessagePortLike = Parameters<typeof receiveMessageOnPort>[0];

function handle(call: Notification): void {
  if (answer(call, context, putOff.length >= mostPutOff) === 'later') {
    putOff.push({ call, untilMs: performance.now() + patienceMs });
  }
}

function retry(nowMs: number): void {
  const before = putOff;
  putOff = [];
  for (const entry of before) {
    if (answer(entry.call, context, nowMs >= entry.untilMs) === 'later') putOff.push(entry);
  }
}

function run(): void {
  const ring = Buffer.alloc(8);
  let failures = 0;
  while (!stopped) {
    const entries: PollEntry[] = [
      { fd: listener, want: 'read' },
      { fd: waker, want: 'read' },
      ...dialer.waiting.map(({ fd }): PollEntry => ({ fd, want: 'write' })),
    ];
    const busy = entries.length > 2 || putOff.length > 0;
    const ready = pollFds(entries, busy ? 20 : 1_000);
    if (ready[1]) {
      try {
        fs.readSync(waker, ring);
      } catch {
        // Rung and read already.
      }
    }
    const news = readOrders();
    const nowMs = performance.now();
    if (entries.length > 2) dialer.proceed(ready.slice(2), nowMs);
    if (putOff.length > 0 && (news || nowMs >= (putOff[0]?.untilMs ?? 0))) retry(nowMs);
    if (ready[0]) {
      const call = receiveNotification(listener);
      failures = call ? 0 : failures + 1;
      if (call) handle(call);
      else if (failures > 1_000) return report({ kind: 'lost', reason: 'the listener is gone' });
    }
    descriptors.sweep(nowMs);
  }
}

try {
  run();
} catch (error) {
  report({ kind: 'lost', reason: error instanceof Error ? error.message : String(error) });
} finally {
  for (const { call } of putOff) reply(listener, call.id, { do: 'errno', errno: errno.EACCES });
  dialer.close();
  descriptors.close();
}
