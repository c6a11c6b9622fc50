// `POST /ambient/probe`: the second leg of a proof. The endpoint that a connection to a service of ours would get,
// and the stream to it, by the same choice and the same tunnels as traffic, up to the answer to CONNECT and
// without a byte of payload (sandbox.md D11). The route is that of `GET /`, as there is no request.
import {
  fromUnknown,
  MeshError,
  newTraceparent,
  parseAuthority,
  printIpPort,
  traceIdOf,
} from '../core/base/index.ts';
import { workloadSpiffeId } from '../core/model/index.ts';
import { planAccept } from './accept/plan.ts';
import type { WaypointContext } from './context.ts';
import type { CompiledPort, CompiledService } from './l7/compile.ts';
import type { CompiledRule } from './l7/routes.ts';
import { pickBackend, pickTarget } from './upstream/pick.ts';
import type { Opened } from './upstream/tunnels.ts';

export interface ProbeRequest {
  /** `ip:port` or `host:port` of a service. */
  readonly destination: string;
  readonly traceparent?: string;
  /** A tunnel of its own instead of the one traffic uses. */
  readonly fresh?: boolean;
  /** Default 5 s, at most 30 s. */
  readonly timeoutMs?: number;
}

export interface ProbeAnswer {
  readonly ok: boolean;
  readonly trace: string;
  readonly service?: string;
  /** The rule of a route that chose where it goes. */
  readonly route?: string;
  /** The endpoint's own `ip:port`. */
  readonly dial?: string;
  readonly endpoint?: {
    readonly uid: string;
    readonly name: string;
    readonly namespace: string;
    readonly identity: string;
  };
  readonly protocol?: 'HBONE' | 'TCP';
  readonly tls?: { readonly version: string; readonly cipher: string; readonly alpn: string };
  readonly peer?: {
    readonly id: string;
    readonly serial: string;
    readonly notAfter: string;
    readonly chain: readonly unknown[];
  };
  readonly local?: { readonly id: string; readonly serial: string };
  readonly reason?: string;
  readonly policy?: string;
  readonly detail?: string;
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
  const { destination, traceparent, fresh, timeoutMs } = value as Record<string, unknown>;
  if (typeof destination !== 'string' || !parseAuthority(destination))
    return 'destination: host:port is needed';
  if (traceparent !== undefined && (typeof traceparent !== 'string' || !traceIdOf(traceparent)))
    return 'traceparent: malformed';
  const ms = typeof timeoutMs === 'number' && timeoutMs > 0 ? Math.min(timeoutMs, 30_000) : 5_000;
  return {
    destination,
    ...(typeof traceparent === 'string' && { traceparent }),
    fresh: fresh === true,
    timeoutMs: ms,
  };
}

export async function probe(ctx: WaypointContext, request: ProbeRequest): Promise<ProbeAnswer> {
  const startedMs = ctx.clock.monotonic();
  const traceparent = request.traceparent ?? newTraceparent(ctx.random);
  const done = (more: Omit<ProbeAnswer, 'trace' | 'durationMs'>): ProbeAnswer => ({
    trace: traceIdOf(traceparent) ?? '',
    ...more,
    durationMs: Math.round(ctx.clock.monotonic() - startedMs),
  });
  const { network, podNamespace, gatewayName } = ctx.config;
  const plan = planAccept(
    ctx.view,
    ctx.services,
    { method: 'CONNECT', authority: request.destination },
    { network, namespace: podNamespace, gateway: gatewayName },
  );
  if (plan.do === 'wait')
    return done({ ok: false, ...failure(new MeshError('WAYPOINT_NOT_BOUND')) });
  if (plan.do === 'refuse')
    return done({ ok: false, ...failure(new MeshError(plan.code, { detail: plan.detail })) });
  const { service, port, target } = plan;
  const tcp = port.tcp ?? port.tls[0]?.tcp;
  const rule = tcp ? undefined : ruleOf(service, port);
  const good = rule?.backends.filter((b) => b.invalid === false) ?? [];
  const backend = pickBackend(ctx, tcp?.backends ?? good);
  const tried = new Set<never>();
  const endpoint = pickTarget(ctx, backend?.cluster ?? port.cluster, { tried, wanted: target });
  const named = { service: service.hostname, ...(rule && { route: rule.name }) };
  if (!endpoint)
    return done({ ok: false, ...named, ...failure(new MeshError('NO_HEALTHY_UPSTREAM')) });
  const { workload: w } = endpoint;
  const shown = {
    ...named,
    dial: printIpPort({ ip: endpoint.address, port: endpoint.port }),
    endpoint: {
      uid: w.uid,
      name: w.name,
      namespace: w.namespace,
      identity: workloadSpiffeId(w),
    },
    protocol: w.protocol,
  };
  try {
    const opened = await ctx.upstreams.tunnels.open({
      endpoint,
      client: { ip: ctx.self().addresses[0] ?? target.ip, port: 1 },
      serviceHost: service.hostname,
      traceparent,
      connectTimeoutMs: request.timeoutMs ?? 5_000,
      fresh: request.fresh === true,
    });
    return done({ ok: true, ...shown, ...proven(opened) });
  } catch (error) {
    return done({ ok: false, ...shown, ...failure(fromUnknown(error, 'DIAL_REFUSED')) });
  }
}

/** The rule that `GET /` to the service meets, if it leads anywhere: a proof is of an endpoint. */
function ruleOf(service: CompiledService, port: CompiledPort): CompiledRule | undefined {
  const head = {
    method: 'GET',
    path: '/',
    query: '',
    authority: service.hostname,
    headers: [],
    version: '1.1',
    hasBody: false,
  } as const;
  const rule = port.routes?.find(head, { uid: '', namespace: '' });
  return rule?.backends.some((b) => b.weight > 0 && b.invalid === false) ? rule : undefined;
}

function failure(error: MeshError): Pick<ProbeAnswer, 'reason' | 'policy' | 'detail'> {
  return {
    reason: error.code,
    ...(error.policy !== undefined && { policy: error.policy }),
    ...(error.detail !== undefined && { detail: error.detail }),
  };
}

function proven({ stream, facts }: Opened): Pick<ProbeAnswer, 'tls' | 'peer' | 'local'> {
  stream.on('error', () => {});
  // An end in order: the application on the other side sees a connection that said nothing.
  stream.resume();
  stream.end();
  stream.once('end', () => stream.destroy());
  if (!facts) return {};
  const { peer, tls, local } = facts;
  return {
    tls,
    peer: {
      id: peer.id,
      serial: peer.serial,
      notAfter: new Date(peer.notAfterMs).toISOString(),
      chain: peer.chain,
    },
    local,
  };
}
