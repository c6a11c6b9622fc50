// The part that both inbound paths share: dial the application as the client, then carry bytes until both
// ends finish or the guard cuts (ztunnel-protocol.md 4.2 steps 9–13).
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fromUnknown, type IpPort, MeshError } from '../../core/base/index.ts';
import { type PumpEnd, policyResetCode, pump } from '../../core/hbone/index.ts';
import type { Guard } from '../connections.ts';
import type { ZtunnelContext } from '../context.ts';
import type { LiveConnection } from '../outbound/outbound.ts';
import type { Report } from '../report.ts';
import type { PodSockets } from '../sockets.ts';

/** What the inbound paths need to know of the pod they work for. */
export interface InboundPod {
  readonly uid: string;
  readonly sockets: PodSockets;
  track(live: LiveConnection): () => void;
}

/** Connects to the app with the client's own address as source; APP_UNREACHABLE or APP_TIMEOUT. */
export async function dialApp(
  ctx: ZtunnelContext,
  pod: InboundPod,
  target: IpPort,
  client: IpPort,
  signal: AbortSignal,
): Promise<Socket> {
  const { clock, config } = ctx;
  try {
    const options = { clock, keepalive: config.keepalive, from: client.ip, signal };
    return await pod.sockets.dial(target, { ...options, keepSource: true });
  } catch (error) {
    const fault = fromUnknown(error);
    if (fault.code === 'DIAL_TIMEOUT') throw new MeshError('APP_TIMEOUT', { cause: error });
    if (fault.code !== 'DIAL_REFUSED') throw fault;
    throw new MeshError('APP_UNREACHABLE', { detail: fault.detail ?? '', cause: error });
  }
}

export interface Carry {
  readonly pod: InboundPod;
  readonly near: Duplex;
  readonly app: Duplex;
  readonly guard: Guard;
  readonly report: Report;
  readonly live: Omit<LiveConnection, 'abort'>;
}

export async function carryInbound(c: Carry): Promise<void> {
  const joined = pump(c.near, c.app);
  c.report.counts = joined.counts;
  const cut = (): void => joined.abort(fromUnknown(c.guard.signal.reason), policyResetCode);
  c.guard.signal.addEventListener('abort', cut, { once: true });
  if (c.guard.signal.aborted) cut();
  const release = c.pod.track({ ...c.live, abort: (error) => joined.abort(error) });
  const end = await joined.done;
  c.guard.signal.removeEventListener('abort', cut);
  release();
  c.report.end(outcomeOf(end));
}

function outcomeOf(end: PumpEnd): Parameters<Report['end']>[0] {
  if (end.failed !== 'us') return {};
  return { error: fromUnknown(end.error, 'DRAINING'), refusedBy: 'self' };
}
