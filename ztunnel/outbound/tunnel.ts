// The next hop of a tunnelled connection: TCP from the pod's own address, TLS as the pod's identity,
// HTTP/2, CONNECT. Used by traffic and by the probe alike, so that a probe proves what traffic does.
import { connectTls } from '../../certs/index.ts';
import {
  fromUnknown,
  type IpAddress,
  type IpPort,
  MeshError,
  parseReason,
  printIpPort,
} from '../../core/base/index.ts';
import {
  buildConnect,
  type Connected,
  type Dialled,
  openHbone,
  type Pool,
} from '../../core/hbone/index.ts';
import {
  type SpiffeId,
  type Workload,
  type WorkloadUid,
  workloadSpiffeId,
} from '../../core/model/index.ts';
import type { ZtunnelContext } from '../context.ts';
import type { TunnelFacts } from '../report.ts';
import type { PodSockets } from '../sockets.ts';
import type { OutboundPlan } from './plan.ts';

/** Everything about how to reach a next hop; the pool's key is all of it (style-models.md practice 7). */
export interface Peer {
  readonly source: SpiffeId;
  readonly expect: readonly SpiffeId[];
  readonly dial: IpPort;
  readonly from: IpAddress | undefined;
  readonly uid: WorkloadUid;
}

export type TunnelPool = Pool<Peer, TunnelFacts>;
export type TunnelPlan = Extract<OutboundPlan, { do: 'tunnel' }>;

export function peerKey(p: Peer): string {
  return JSON.stringify([p.source, p.expect, printIpPort(p.dial), p.from ?? '', p.uid]);
}

export function peerOf(plan: TunnelPlan, from: Workload, address: IpAddress | undefined): Peer {
  return {
    source: workloadSpiffeId(from),
    expect: plan.expect,
    dial: plan.dial,
    from: address,
    uid: plan.destination.uid,
  };
}

/** Rejects with the MeshError of the step that failed. */
export async function dialTunnel(
  ctx: ZtunnelContext,
  sockets: PodSockets,
  peer: Peer,
): Promise<Dialled<TunnelFacts>> {
  const { clock, config, log } = ctx;
  const cert = await ctx.certs.get(peer.source);
  const dialling = sockets.dial(peer.dial, {
    clock,
    keepalive: config.keepalive,
    from: peer.from,
    halfOpen: false,
  });
  const socket = await dialling.catch((error: unknown) => {
    const fault = fromUnknown(error, 'DIAL_REFUSED');
    if (fault.code !== 'DIAL_TIMEOUT') throw fault;
    const detail = `connection timed out, maybe a NetworkPolicy is blocking HBONE port ${peer.dial.port}`;
    throw new MeshError('HBONE_TIMEOUT', { detail, cause: error });
  });
  const secured = await connectTls(socket, cert, peer.expect, ctx.tls);
  ctx.reports.metrics.handshakes.add({ reporter: 'source' });
  const client = openHbone(secured.stream, { clock, log, limits: ctx.hbone });
  const { peer: proven, tls, local } = secured;
  return { client, facts: { peer: proven, tls, local } };
}

export interface TunnelCall {
  readonly plan: TunnelPlan;
  readonly from: Workload;
  /** The application's socket. */
  readonly client: IpPort;
  readonly traceparent: string;
}

export function connectHeaders(call: TunnelCall): Record<string, string> {
  return buildConnect({
    authority: call.plan.authority,
    client: call.client,
    serviceHost: call.plan.service?.hostname,
    source: call.from,
    traceparent: call.traceparent,
  });
}

/** A refusal by the peer as a fault: its own reason where it gave one that we know. */
export function peerFault(answer: Extract<Connected, { kind: 'refused' }>): MeshError {
  const reason = parseReason(answer.reason);
  return new MeshError(reason?.code ?? 'PEER_REFUSED', {
    detail: `http status: ${answer.status}`,
    ...(reason?.policy !== undefined && { policy: reason.policy }),
  });
}
