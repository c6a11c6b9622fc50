// Carries out the outbound plan for one captured connection (style-models.md 6.1): plan, dial, answer,
// pump. Whatever goes wrong before the first byte is a reset towards the app (sandbox.md D13).
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  printIpPort,
  proxyHeader,
  traceIdOf,
} from '../../core/base/index.ts';
import { type PumpEnd, policyResetCode, pump } from '../../core/hbone/index.ts';
import { type Workload, type WorkloadUid, workloadSpiffeId } from '../../core/model/index.ts';
import type { Captured } from '../capture/captured.ts';
import type { ZtunnelContext } from '../context.ts';
import { ports } from '../ports.ts';
import { refuseApp } from '../refusal.ts';
import type { Report, ReportFacts } from '../report.ts';
import type { PodSockets } from '../sockets.ts';
import { type OutboundPlan, planOutbound } from './plan.ts';
import {
  connectHeaders,
  peerFault,
  peerOf,
  type TunnelCall,
  type TunnelPlan,
  type TunnelPool,
} from './tunnel.ts';

/** What the outbound path needs to know of the pod it works for. */
export interface OutboundPod {
  readonly uid: string;
  readonly pool: TunnelPool;
  readonly sockets: PodSockets;
  /** Registers a running connection until the returned function is called. */
  track(live: LiveConnection): () => void;
}

export interface LiveConnection {
  readonly direction: 'inbound' | 'outbound';
  readonly source: IpPort;
  readonly target: IpPort;
  readonly dialled: IpPort;
  readonly protocol: 'HBONE' | 'TCP';
  abort(error: MeshError): void;
}

interface Call {
  readonly ctx: ZtunnelContext;
  readonly pod: OutboundPod;
  readonly from: Workload;
  readonly socket: Socket;
  readonly captured: Captured;
  readonly traceparent: string;
  readonly signal: AbortSignal;
}

type Carried = Extract<OutboundPlan, { do: 'tunnel' | 'pass' }>;

/** Endpoints tried for one connection before any byte is sent (design.md 6.6). */
const maxAttempts = 2;

export async function carryOutbound(
  ctx: ZtunnelContext,
  pod: OutboundPod,
  from: Workload,
  socket: Socket,
  captured: Captured,
): Promise<void> {
  const gone = new AbortController();
  socket.once('close', () => gone.abort(new MeshError('PEER_RESET', { detail: 'the app left' })));
  const call: Call = {
    ctx,
    pod,
    from,
    socket,
    captured,
    traceparent: newTraceparent(ctx.random),
    signal: gone.signal,
  };
  const except = new Set<WorkloadUid>();
  for (let attempt = 1; ; attempt++) {
    const plan = planOutbound(ctx.feed.view, from, captured.target, {
      network: ctx.config.network,
      random: ctx.random,
      except,
      egress: ctx.config.egress,
    });
    if (plan.do === 'pass' && plan.unregistered) tellUnregistered(ctx, captured, from);
    if (plan.do !== 'tunnel' && plan.do !== 'pass') {
      refuseEarly(call, unsupported(plan));
      return;
    }
    const last = attempt === maxAttempts || !canFailOver(call, plan, except);
    if (await attemptOnce(call, plan, last)) return;
    if (plan.destination) except.add(plan.destination.uid);
  }
}

/** The step between: what REGISTRY_ONLY would refuse is let through, counted and named. */
function tellUnregistered(ctx: ZtunnelContext, captured: Captured, from: Workload): void {
  const mode = ctx.config.egress;
  ctx.reports.metrics.unregistered.add({ mode });
  if (mode !== 'LOG_ONLY') return;
  ctx.log.warn('egress to an address that is not registered', {
    'src.workload': from.name,
    'src.namespace': from.namespace,
    'dst.addr': printIpPort(captured.target),
    reason: 'EGRESS_NOT_REGISTERED',
  });
}

/** Whether the plan would still find somebody without the endpoint it just chose. */
function canFailOver(call: Call, plan: Carried, except: ReadonlySet<WorkloadUid>): boolean {
  if (!plan.service || !plan.destination) return false;
  const { feed, config, random } = call.ctx;
  const without = new Set([...except, plan.destination.uid]);
  const other = planOutbound(feed.view, call.from, call.captured.target, {
    network: config.network,
    random,
    except: without,
    egress: config.egress,
  });
  return other.do === 'tunnel' || other.do === 'pass';
}

function unsupported(plan: Exclude<OutboundPlan, Carried>): MeshError {
  switch (plan.do) {
    case 'refuse':
      return new MeshError(plan.code, { detail: plan.detail });
    case 'double':
      return new MeshError('DOUBLE_HBONE_UNSUPPORTED', { detail: `through ${plan.authority}` });
    case 'resolve':
      return new MeshError('ON_DEMAND_UNSUPPORTED', {
        detail: `no address known for ${plan.host}`,
      });
  }
}

function factsOf(call: Call, plan: Carried | undefined): ReportFacts {
  const { from, captured, pod } = call;
  const tunnel = plan?.do === 'tunnel' ? plan : undefined;
  return {
    direction: 'outbound',
    trace: traceIdOf(call.traceparent) ?? '',
    pod: pod.uid,
    source: captured.source,
    destination: plan?.dial ?? captured.target,
    hboneAddr: tunnel?.authority,
    sourceWorkload: from,
    sourceIdentity: workloadSpiffeId(from),
    destinationWorkload: plan?.destination,
    destinationIdentity: plan?.destination && workloadSpiffeId(plan.destination),
    service: plan?.service,
    mutualTls: tunnel !== undefined,
  };
}

function refuseEarly(call: Call, error: MeshError): void {
  call.ctx.reports.early(factsOf(call, undefined), error);
  refuseApp(call.ctx.clock, call.socket);
}

/** True = done, in whatever way; false = another endpoint may be tried. */
async function attemptOnce(call: Call, plan: Carried, last: boolean): Promise<boolean> {
  const report = call.ctx.reports.open(factsOf(call, plan));
  let far: Duplex;
  try {
    const opened =
      plan.do === 'tunnel' ? await openTunnel(call, plan, report) : await openPlain(call, plan);
    if (opened instanceof MeshError) {
      report.end({ error: opened, refusedBy: 'peer', ...statusOf(opened) });
      refuseApp(call.ctx.clock, call.socket);
      return true;
    }
    far = opened;
  } catch (caught) {
    const error = fromUnknown(caught, 'INTERNAL');
    report.end({ error });
    const again = !last && error.row.retry && !call.socket.destroyed;
    if (!again) refuseApp(call.ctx.clock, call.socket);
    return !again;
  }
  await carry(call, plan, far, report);
  return true;
}

function statusOf(error: MeshError): { status?: number } {
  const digits = error.detail?.slice('http status: '.length);
  return digits === undefined || digits === '' ? {} : { status: Number(digits) };
}

async function openTunnel(
  call: Call,
  plan: TunnelPlan,
  report: Report,
): Promise<Duplex | MeshError> {
  const { captured, traceparent, from, pod, signal } = call;
  const tunnelCall: TunnelCall = { plan, from, client: captured.source, traceparent };
  const peer = peerOf(plan, from, captured.source.ip);
  const given = await pod.pool.connect(peer, connectHeaders(tunnelCall), signal);
  report.tunnel = given.facts;
  report.reused = given.reused;
  return given.answer.kind === 'open' ? given.answer.stream : peerFault(given.answer);
}

/**
 * A plain dial. A target that this very proxy serves is entered through its plaintext listener, so that
 * its policy applies: in `addressed` mode nothing else would capture the connection.
 */
async function openPlain(call: Call, plan: Extract<Carried, { do: 'pass' }>): Promise<Duplex> {
  const { ctx, captured, signal, pod } = call;
  const { clock, config } = ctx;
  const { sockets } = pod;
  const options = { clock, keepalive: config.keepalive, from: captured.source.ip, signal };
  if (!ctx.serves(plan.dial.ip)) return sockets.dial(plan.dial, options);
  const socket = await sockets.dial({ ip: plan.dial.ip, port: ports.inboundPlaintext }, options);
  socket.write(proxyHeader.printV2(captured.source, plan.dial));
  return socket;
}

async function carry(call: Call, plan: Carried, far: Duplex, report: Report): Promise<void> {
  const joined = pump(call.socket, far);
  report.counts = joined.counts;
  const release = call.pod.track({
    direction: 'outbound',
    source: call.captured.source,
    target: call.captured.target,
    dialled: plan.dial,
    protocol: plan.do === 'tunnel' ? 'HBONE' : 'TCP',
    abort: (error) => joined.abort(error),
  });
  const end = await joined.done;
  release();
  report.end(outcomeOf(end));
}

const ordinary: ReadonlySet<number> = new Set([
  constants.NGHTTP2_NO_ERROR,
  constants.NGHTTP2_CANCEL,
]);

/** Resets by either application are ordinary ends (ztunnel-protocol.md 2.6); cuts are not. */
function outcomeOf(end: PumpEnd): Parameters<Report['end']>[0] {
  if (end.failed === 'us') return { error: fromUnknown(end.error, 'DRAINING') };
  if (end.failed === 'far' && end.code === policyResetCode) {
    return {
      error: new MeshError('POLICY_CHANGED', { detail: 'cut by the peer' }),
      refusedBy: 'peer',
    };
  }
  if (end.failed === 'far' && end.code !== undefined && !ordinary.has(end.code)) {
    return { error: new MeshError('PEER_RESET', { detail: `reset with code ${end.code}` }) };
  }
  return {};
}

/** The early refusal for connections that never got a plan. */
export function refuseUnplanned(
  ctx: ZtunnelContext,
  uid: string,
  socket: Socket,
  source: IpPort,
  target: IpPort,
  error: MeshError,
): void {
  const facts: ReportFacts = {
    direction: 'outbound',
    trace: traceIdOf(newTraceparent(ctx.random)) ?? '',
    pod: uid,
    source,
    destination: target,
    mutualTls: false,
  };
  ctx.reports.early(facts, error);
  refuseApp(ctx.clock, socket);
}
