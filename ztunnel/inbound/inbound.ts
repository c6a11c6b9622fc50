// The HBONE side of a pod: one TLS connection, many CONNECTs, each judged on its own (style-models.md 6.1
// "Inbound"). 200 is sent only after the application has accepted.
import type { Socket } from 'node:net';
import type { Secured } from '../../certs/index.ts';
import {
  type FaultCode,
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  parseIp,
  printable,
  proxyHeader,
  traceIdOf,
} from '../../core/base/index.ts';
import {
  buildRefusal,
  type HboneServer,
  headerText,
  type Incoming,
  parseBaggage,
  parseForwardedHost,
  printBaggage,
  resetStream,
  serveHbone,
} from '../../core/hbone/index.ts';
import { trustDomainOf, type Workload, workloadSpiffeId } from '../../core/model/index.ts';
import type { ZtunnelContext } from '../context.ts';
import type { Guard } from '../connections.ts';
import type { Report, ReportFacts, TunnelFacts } from '../report.ts';
import { remoteOf } from '../../core/runtime/index.ts';
import { carryInbound, dialApp, type InboundPod } from './admit.ts';
import { sourceWorkload } from './labels.ts';
import { type InboundPlan, planInbound } from './plan.ts';

export interface HbonePod extends InboundPod {
  /** The pod as the mesh knows it now. */
  current(): Workload | undefined;
  /** Waits up to 5 s for the mesh to describe the pod. */
  known(): Promise<Workload | undefined>;
  /** Registers a tunnel until it closes. */
  trackTunnel(tunnel: { server: HboneServer; facts: TunnelFacts }): void;
  /** Why no more stream may run now (fairness, overload). */
  readonly full: FaultCode | undefined;
}

interface Tunnel {
  readonly ctx: ZtunnelContext;
  readonly pod: HbonePod;
  readonly client: IpPort;
  readonly local: IpPort;
  readonly secured: Secured;
}

/** From an accepted socket on 15008 to a served tunnel; failures end in one line and one counter. */
export async function acceptTunnel(
  ctx: ZtunnelContext,
  pod: HbonePod,
  socket: Socket,
): Promise<void> {
  const client = remoteOf(socket);
  const localIp = parseIp(socket.localAddress ?? '');
  const localPort = socket.localPort;
  if (!client || !localIp || localPort === undefined) {
    socket.destroy();
    return;
  }
  const local = { ip: localIp, port: localPort };
  try {
    const workload = await pod.known();
    if (!workload) throw new MeshError('UNKNOWN_LOCAL_WORKLOAD');
    const secured = await ctx.accept(workloadSpiffeId(workload), socket);
    ctx.reports.metrics.handshakes.add({ reporter: 'destination' });
    serve({ ctx, pod, client, local, secured });
  } catch (caught) {
    resetStream(socket);
    const error = fromUnknown(caught, 'TLS_HANDSHAKE');
    ctx.reports.early(handshakeFacts(ctx, pod, client, local), error);
    if (error.code === 'CERT_REVOKED') ctx.reports.crlRejected('destination');
  }
}

function handshakeFacts(
  ctx: ZtunnelContext,
  pod: HbonePod,
  client: IpPort,
  local: IpPort,
): ReportFacts {
  return {
    direction: 'inbound',
    trace: traceIdOf(newTraceparent(ctx.random)) ?? '',
    pod: pod.uid,
    source: client,
    destination: local,
    sourceWorkload: sourceWorkload(ctx.feed.view, ctx.config.network, client.ip, undefined),
    destinationWorkload: pod.current(),
    mutualTls: false,
  };
}

function serve(tunnel: Tunnel): void {
  const { ctx, pod, secured } = tunnel;
  const { peer, tls, local } = secured;
  const server = serveHbone(secured.stream, {
    clock: ctx.clock,
    log: ctx.log,
    limits: ctx.hbone,
    onConnect: (incoming) => {
      request(tunnel, incoming).catch((error: unknown) => {
        ctx.log.error('a CONNECT could not be served', { error });
        answerRefusal(tunnel, incoming, new MeshError('INTERNAL'));
      });
    },
  });
  pod.trackTunnel({ server, facts: { peer, tls, local } });
}

/** One CONNECT. Rejects only on a mistake of ours. */
async function request(tunnel: Tunnel, incoming: Incoming): Promise<void> {
  const { ctx, pod } = tunnel;
  const workload = pod.current();
  const plan: InboundPlan = workload
    ? planInbound(
        ctx.feed.view,
        workload,
        {
          method: incoming.method,
          authority: incoming.authority,
          forwardedHost: parseForwardedHost(headerText(incoming.headers, 'forwarded')),
          localIp: tunnel.local.ip,
        },
        ctx.config.network,
      )
    : { do: 'refuse', code: 'UNKNOWN_LOCAL_WORKLOAD', detail: 'the pod is not in the mesh yet' };
  const facts = factsOf(tunnel, incoming, workload, plan);
  const { full } = pod;
  if (plan.do === 'refuse' || !workload || full) {
    const error =
      plan.do === 'refuse'
        ? new MeshError(plan.code, { detail: printable(plan.detail, 300) })
        : new MeshError(full ?? 'UNKNOWN_LOCAL_WORKLOAD');
    answerRefusal(tunnel, incoming, error);
    ctx.reports.early(facts, error);
    return;
  }
  await admitted(tunnel, incoming, workload, plan, facts);
}

async function admitted(
  tunnel: Tunnel,
  incoming: Incoming,
  workload: Workload,
  plan: Extract<InboundPlan, { do: 'admit' }>,
  facts: ReportFacts,
): Promise<void> {
  const { ctx, secured, client } = tunnel;
  const report = ctx.reports.open(facts);
  const { peer, tls, local } = secured;
  report.tunnel = { peer, tls, local };
  const who = {
    source: client,
    principal: peer.id,
    identity: peer.identity,
    forwardedHost: parseForwardedHost(headerText(incoming.headers, 'forwarded')),
  };
  const verdict = ctx.connections.admit(workload.uid, who, plan.dial);
  if (!verdict.ok) {
    answerRefusal(tunnel, incoming, verdict.error);
    report.end({ error: verdict.error, refusedBy: 'self', status: verdict.error.row.status });
    return;
  }
  const { guard } = verdict;
  try {
    await reachApp(tunnel, incoming, workload, plan, guard, report);
  } catch (caught) {
    const error = fromUnknown(caught, 'INTERNAL');
    answerRefusal(tunnel, incoming, error);
    report.end({ error, refusedBy: 'self', status: error.row.status });
  } finally {
    guard.release();
  }
}

async function reachApp(
  tunnel: Tunnel,
  incoming: Incoming,
  workload: Workload,
  plan: Extract<InboundPlan, { do: 'admit' }>,
  guard: Guard,
  report: Report,
): Promise<void> {
  const { ctx, pod, client, secured } = tunnel;
  const left = new AbortController();
  incoming.stream.once('close', () => left.abort(new MeshError('PEER_RESET')));
  const signal = AbortSignal.any([guard.signal, left.signal]);
  const app = await dialApp(ctx, pod, plan.dial, client, signal);
  if (incoming.stream.destroyed) {
    resetStream(app);
    throw new MeshError('PEER_RESET', { detail: 'the peer left before the answer' });
  }
  const near = incoming.accept(
    ctx.config.responseBaggage ? { baggage: printBaggage(workload) } : {},
  );
  if (plan.proxyTarget) app.write(proxyHeader.printV2(client, plan.proxyTarget, secured.peer.id));
  const live = {
    direction: 'inbound',
    source: client,
    target: tunnel.local,
    dialled: plan.dial,
    protocol: 'HBONE',
  } as const;
  await carryInbound({ pod, near, app, guard, report, live });
}

/** The policy's name is for peers of our own trust domain only (sandbox.md D12). */
function answerRefusal(tunnel: Tunnel, incoming: Incoming, error: MeshError): void {
  const { peer, local } = tunnel.secured;
  const near = trustDomainOf(peer.id) === trustDomainOf(local.id);
  incoming.refuse(
    error.row.status || 503,
    buildRefusal(error.code, near ? error.policy : undefined),
  );
}

function factsOf(
  tunnel: Tunnel,
  incoming: Incoming,
  workload: Workload | undefined,
  plan: InboundPlan,
): ReportFacts {
  const { ctx, client, local, secured, pod } = tunnel;
  const { headers } = incoming;
  const baggage = ctx.config.responseBaggage
    ? parseBaggage(headerText(headers, 'baggage'))
    : undefined;
  const trace = traceIdOf(headerText(headers, 'traceparent'));
  return {
    direction: 'inbound',
    trace: trace ?? traceIdOf(newTraceparent(ctx.random)) ?? '',
    pod: pod.uid,
    source: client,
    destination: local,
    hboneAddr: printable(incoming.authority, 300),
    sourceWorkload: sourceWorkload(ctx.feed.view, ctx.config.network, client.ip, baggage),
    sourceIdentity: secured.peer.id,
    destinationWorkload: workload,
    destinationIdentity: secured.local.id,
    service: plan.do === 'admit' ? plan.service : undefined,
    mutualTls: true,
  };
}
