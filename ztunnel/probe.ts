// `POST /ambient/probe`: the very plan and pool that traffic from a pod would use, up to the answer to
// CONNECT, without a byte of payload (sandbox.md D11). The other end's record is found by trace id.
import type { Duplex } from 'node:stream';
import {
  type Clock,
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  parseAuthority,
  printIpPort,
  traceIdOf,
} from '../core/base/index.ts';
import { resetStream } from '../core/hbone/index.ts';
import { type Workload, workloadSpiffeId } from '../core/model/index.ts';
import type { ZtunnelContext } from './context.ts';
import { type OutboundPlan, planOutbound } from './outbound/plan.ts';
import { judgePackets, type PacketFacts } from './packets-plan.ts';
import { connectHeaders, dialTunnel, type Peer, peerFault, peerOf } from './outbound/tunnel.ts';
import type { PodProxy } from './pods/pod-proxy.ts';
import { evidence, type TunnelFacts } from './report.ts';

/** How long a plain connection is watched for a refusal. */
const plainLookMs = 250;

export interface ProbeRequest {
  /** Kubernetes uid of the pod to speak for. */
  readonly source: string;
  /** `ip:port`, or `host:port` of a service. */
  readonly destination: string;
  readonly traceparent?: string;
  /** Makes a connection of its own instead of using the pool. */
  readonly fresh?: boolean;
  /** Looks at the packets of the connection, where that may be done. */
  readonly packets?: boolean;
  /** Default 5 s, at most 30 s. */
  readonly timeoutMs?: number;
}

/** The outbound leg. */
export interface ProbeAnswer {
  readonly served: boolean;
  readonly ok: boolean;
  readonly trace: string;
  readonly protocol?: 'HBONE' | 'TCP';
  readonly plan?: {
    readonly do: OutboundPlan['do'];
    readonly dial?: string;
    readonly authority?: string;
    readonly via?: 'workload' | 'waypoint';
    readonly expect?: readonly string[];
    readonly destination?: { uid: string; name: string; namespace: string; identity: string };
    readonly service?: string;
  };
  readonly tls?: { readonly version: string; readonly cipher: string; readonly alpn: string };
  readonly peer?: ReturnType<typeof evidence>['peer'];
  readonly local?: { readonly id: string; readonly serial: string };
  readonly reused?: boolean;
  readonly status?: number;
  readonly reason?: string;
  readonly policy?: string;
  readonly detail?: string;
  readonly refusedBy?: 'peer' | 'self';
  /** What was on the wire meanwhile, or why nobody looked. */
  readonly wire?: PacketFacts | { readonly notSeen: string };
  readonly durationMs: number;
}

/** Reads and checks the body; a text says what is wrong with it. */
export function readProbe(body: string): ProbeRequest | string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return 'the body is not JSON';
  }
  if (typeof value !== 'object' || value === null) return 'the body is not an object';
  const o = value as Record<string, unknown>;
  const { source, destination, traceparent, fresh, packets, timeoutMs } = o;
  if (typeof source !== 'string' || source === '') return 'source: a pod uid is needed';
  if (typeof destination !== 'string') return 'destination: host:port is needed';
  if (!parseAuthority(destination)) return 'destination: not host:port';
  if (traceparent !== undefined && typeof traceparent !== 'string')
    return 'traceparent: not a text';
  if (traceparent !== undefined && !traceIdOf(traceparent)) return 'traceparent: malformed';
  const ms = typeof timeoutMs === 'number' && timeoutMs > 0 ? Math.min(timeoutMs, 30_000) : 5_000;
  return {
    source,
    destination,
    ...(traceparent !== undefined && { traceparent }),
    fresh: fresh === true,
    packets: packets === true,
    timeoutMs: ms,
  };
}

export async function probe(
  ctx: ZtunnelContext,
  pod: PodProxy | undefined,
  request: ProbeRequest,
): Promise<ProbeAnswer> {
  const startedMs = ctx.clock.monotonic();
  const traceparent = request.traceparent ?? newTraceparent(ctx.random);
  const base = { served: pod !== undefined, trace: traceIdOf(traceparent) ?? '' };
  const done = (more: Omit<ProbeAnswer, 'served' | 'trace' | 'durationMs'>): ProbeAnswer => ({
    ...base,
    ...more,
    durationMs: Math.round(ctx.clock.monotonic() - startedMs),
  });
  const from = pod?.current();
  if (!pod) return done({ ok: false, detail: 'this ztunnel does not serve that pod' });
  if (!from) return done({ ok: false, ...failure(new MeshError('UNKNOWN_SOURCE')) });
  const target = resolve(ctx, from, request.destination);
  if (!target) return done({ ok: false, ...failure(new MeshError('LOCAL_NAME_UNRESOLVED')) });
  const plan = planOutbound(ctx.feed.view, from, target, {
    network: ctx.config.network,
    random: ctx.random,
    egress: ctx.config.egress,
  });
  const shown = { plan: describe(plan) };
  const limit = limitOf(ctx.clock, request.timeoutMs ?? 5_000);
  const look = request.packets === true ? watchWire(pod) : undefined;
  const wire = (): Pick<ProbeAnswer, 'wire'> =>
    look && 'dial' in plan ? { wire: look.end(plan.dial, base.trace) } : {};
  try {
    const result = await carryOut(ctx, pod, from, plan, traceparent, request, limit.signal);
    return done({ ...shown, ...result, ...wire() });
  } catch (error) {
    return done({ ...shown, ok: false, ...failure(fromUnknown(error)), ...wire() });
  } finally {
    look?.close();
    limit.cancel();
  }
}

interface WireWatch {
  end(peer: IpPort, mark: string): NonNullable<ProbeAnswer['wire']>;
  close(): void;
}

/** The trace id travels in the CONNECT: in clear text it would be seen. */
function watchWire(pod: PodProxy): WireWatch {
  if (!pod.sockets.tap) return unseen('the pod has no network of its own');
  try {
    const tap = pod.sockets.tap();
    return {
      end: (peer, mark) => judgePackets(tap.take(), peer, mark),
      close: () => tap.close(),
    };
  } catch (error) {
    return unseen(`the proxy may not look at packets: ${fromUnknown(error).message}`);
  }
}

const unseen = (notSeen: string): WireWatch => ({ end: () => ({ notSeen }), close: () => {} });

function limitOf(clock: Clock, ms: number): { signal: AbortSignal; cancel: () => void } {
  const abort = new AbortController();
  const timer = clock.after(ms, () =>
    abort.abort(new MeshError('DIAL_TIMEOUT', { detail: `no answer within ${ms} ms` })),
  );
  return { signal: abort.signal, cancel: () => timer.cancel() };
}

function failure(error: MeshError): Partial<ProbeAnswer> {
  return {
    reason: error.code,
    refusedBy: 'self',
    ...(error.policy !== undefined && { policy: error.policy }),
    ...(error.detail !== undefined && { detail: error.detail }),
  };
}

/** Names by the mesh alone: a service's address, as the pod would have got it from DNS. */
function resolve(ctx: ZtunnelContext, from: Workload, text: string): IpPort | undefined {
  const authority = parseAuthority(text);
  if (!authority) return undefined;
  if (authority.kind === 'ip') return { ip: authority.ip, port: authority.port };
  const { view } = ctx.feed;
  const names = [authority.host, `${authority.host}.${from.namespace}.svc.cluster.local`];
  const long = authority.host.includes('.') ? `${authority.host}.svc.cluster.local` : undefined;
  for (const name of long === undefined ? names : [...names, long]) {
    const service = view.serviceByHost(name, from.namespace);
    const vip = service?.vips.find((v) => v.network === ctx.config.network) ?? service?.vips[0];
    if (vip) return { ip: vip.ip, port: authority.port };
  }
  return undefined;
}

function describe(plan: OutboundPlan): NonNullable<ProbeAnswer['plan']> {
  if (plan.do === 'refuse') return { do: plan.do };
  const { destination: d, service } = plan;
  return {
    do: plan.do,
    ...('dial' in plan && { dial: printIpPort(plan.dial) }),
    ...('authority' in plan && { authority: plan.authority }),
    ...(plan.do === 'tunnel' && { via: plan.via, expect: plan.expect }),
    ...(d && {
      destination: {
        uid: d.uid,
        name: d.name,
        namespace: d.namespace,
        identity: workloadSpiffeId(d),
      },
    }),
    ...(service && { service: service.hostname }),
  };
}

type Leg = Omit<ProbeAnswer, 'served' | 'trace' | 'durationMs'>;

async function carryOut(
  ctx: ZtunnelContext,
  pod: PodProxy,
  from: Workload,
  plan: OutboundPlan,
  traceparent: string,
  request: ProbeRequest,
  signal: AbortSignal,
): Promise<Leg> {
  const address = pod.info.addresses[0];
  switch (plan.do) {
    case 'refuse':
      throw new MeshError(plan.code, { detail: plan.detail });
    case 'double':
      throw new MeshError('DOUBLE_HBONE_UNSUPPORTED');
    case 'resolve':
      throw new MeshError('ON_DEMAND_UNSUPPORTED', { detail: `no address known for ${plan.host}` });
    case 'pass': {
      const { clock, config } = ctx;
      const socket = await pod.sockets.dial(plan.dial, {
        clock,
        keepalive: config.keepalive,
        from: address,
        signal,
      });
      const refused = await resetWithin(socket, clock, plainLookMs);
      socket.destroy();
      // A proxy at the other end takes every connection and then resets what its policies refuse.
      if (!refused) return { ok: true, protocol: 'TCP' };
      const error = new MeshError('PEER_RESET', { detail: 'taken, then reset by the other end' });
      return { ok: false, protocol: 'TCP', ...failure(error), refusedBy: 'peer' };
    }
    case 'tunnel': {
      const client = { ip: address ?? plan.dial.ip, port: 1 };
      const headers = connectHeaders({ plan, from, client, traceparent });
      const peer = peerOf(plan, from, address);
      const given = request.fresh
        ? await once(ctx, pod, peer, headers, signal)
        : await pod.pool.connect(peer, headers, signal);
      return legOf(given);
    }
  }
}

/** Whether the other end resets the connection before the time is over; an orderly end is none. */
function resetWithin(socket: Duplex, clock: Clock, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    const done = (reset: boolean): void => {
      timer.cancel();
      resolve(reset);
    };
    socket.on('error', () => done(true));
    socket.once('close', () => done(false));
    socket.resume();
  });
}

/** A tunnel of its own, gone after the answer. */
async function once(
  ctx: ZtunnelContext,
  pod: PodProxy,
  peer: Peer,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<PodProxy['pool']['connect']>>> {
  const { client, facts } = await dialTunnel(ctx, pod.sockets, peer);
  try {
    const answer = await client.connect(headers, signal);
    if (answer.kind === 'unprocessed') throw new MeshError('H2_FAILED');
    return { answer, facts, reused: false };
  } finally {
    client.close();
  }
}

function legOf(given: {
  readonly answer: Awaited<ReturnType<PodProxy['pool']['connect']>>['answer'];
  readonly facts: TunnelFacts;
  readonly reused: boolean;
}): Leg {
  const proof = { protocol: 'HBONE', ...evidence(given.facts), reused: given.reused } as const;
  if (given.answer.kind === 'open') {
    const { stream } = given.answer;
    stream.on('error', () => {});
    stream.resume();
    stream.end();
    stream.once('end', () => resetStream(stream));
    return { ok: true, status: 200, ...proof };
  }
  const error = peerFault(given.answer);
  const { status } = given.answer;
  return { ok: false, ...proof, ...failure(error), status, refusedBy: 'peer' };
}
