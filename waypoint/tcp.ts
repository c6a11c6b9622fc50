// Opaque traffic: judged by what a connection alone can tell, then carried to an endpoint as it is.
import type { Duplex } from 'node:stream';
import { type Clock, fromUnknown, MeshError, type Timer } from '../core/base/index.ts';
import { type Pump, pump } from '../core/hbone/index.ts';
import type { WorkloadUid } from '../core/model/index.ts';
import type { WaypointContext } from './context.ts';
import { connectionFacts } from './http/access-facts.ts';
import type { L7Connection } from './http/exchange.ts';
import { askAboutConnection } from './http/external.ts';
import { xxh64 } from './balance/hash.ts';
import type { Mark } from './l7/access.ts';
import type { Cluster } from './l7/cluster.ts';
import type { ConnectionRules } from './l7/connection-rules.ts';
import { forName } from './l7/wildcard.ts';
import type { CompiledTcp } from './l7/tcp-routes.ts';
import { begin } from './upstream/begin.ts';
import { clusterEndpoints, pickBackend, pickTarget } from './upstream/pick.ts';
import type { Endpoint } from './upstream/tunnels.ts';

export interface OpenedOpaque {
  readonly stream: Duplex;
  readonly endpoint: Endpoint;
  readonly startedMs: number;
  readonly cluster: Cluster;
  readonly marks: readonly Mark[];
}

/** Endpoints tried before any byte is sent. */
const maxAttempts = 3;

/**
 * The stream upstream, or the reason why there is none; the refusal is reported. `route` says where to, `undefined` =
 * straight to the service.
 */
export async function openOpaque(
  ctx: WaypointContext,
  c: L7Connection,
  route: CompiledTcp | 'none' | undefined = c.port.tcp,
): Promise<OpenedOpaque | MeshError> {
  const startedMs = ctx.clock.monotonic();
  let marks: readonly Mark[] = [];
  const fail = (error: MeshError, flag?: string): MeshError => {
    ctx.reports.opaque(c, startedMs, {
      endpoint: undefined,
      receivedBytes: 0,
      sentBytes: 0,
      flags: flag ?? (error.code === 'NO_HEALTHY_UPSTREAM' ? 'UH' : 'UF'),
      reason: error.code,
      policy: error.policy,
      marks,
    });
    return error;
  };
  const unasked = c.service.external && (await askAboutConnection(ctx, c));
  if (unasked) return fail(unasked);
  const verdict = c.service.access.judge(connectionFacts(c));
  ({ marks } = verdict);
  if (!verdict.allow) {
    const code = verdict.by === undefined ? 'POLICY_NOT_ALLOWED' : 'POLICY_DENIED';
    return fail(new MeshError(code, verdict.by === undefined ? {} : { policy: verdict.by }));
  }
  if (route === 'none') return fail(new MeshError('NO_ROUTE'), 'NR');
  const backend = route && pickBackend(ctx, route.backends);
  if (route && (!backend || backend.invalid)) {
    return fail(new MeshError('NO_HEALTHY_UPSTREAM', { detail: 'the route has no backend' }));
  }
  const cluster = forName(ctx.view, backend?.cluster ?? c.port.cluster, c.serverName ?? '');
  if (!cluster) return fail(new MeshError('NO_ROUTE'), 'NR');
  const hash = cluster.policy.hash?.by === 'source-ip' ? { hash: xxh64(c.source.ip) } : {};
  const { policy } = cluster;
  const connection = ctx.clusters.breaker(cluster).take('connections', policy.breaker);
  if (!connection) return fail(new MeshError('STREAM_LIMIT', { detail: 'maxConnections' }), 'UO');
  const tried = new Set<WorkloadUid>();
  let last = new MeshError('NO_HEALTHY_UPSTREAM');
  for (let n = 0; n < maxAttempts; n++) {
    const endpoint = pickTarget(ctx, cluster, { tried, ...hash, wanted: c.target });
    if (!endpoint || (n > 0 && tried.has(endpoint.workload.uid))) break;
    tried.add(endpoint.workload.uid);
    try {
      const opened = await ctx.upstreams.tunnels.open({
        endpoint,
        client: c.source,
        serviceHost: c.service.hostname,
        traceparent: c.traceparent,
        connectTimeoutMs: policy.connectTimeoutMs,
        keepalive: policy.connection.keepalive,
      });
      const host = cluster.name ?? c.service.hostname;
      const meant = { cluster, endpoint, client: c.source, target: c.target };
      const stream = await begin(opened.stream, meant, host, [], ctx.clock);
      stream.once('close', connection);
      if (stream.destroyed) connection();
      return { stream, endpoint, startedMs, cluster, marks };
    } catch (caught) {
      last = fromUnknown(caught, 'DIAL_REFUSED');
      const endpoints = clusterEndpoints(ctx, cluster).length;
      ctx.clusters.outcome(cluster, endpoint.workload.uid, { kind: 'local' }, endpoints);
      if (!last.row.retry) break;
    }
  }
  connection();
  return fail(last);
}

export async function carryOpaque(
  ctx: WaypointContext,
  c: L7Connection,
  near: Duplex,
  opened: OpenedOpaque,
): Promise<void> {
  const { endpoint, startedMs } = opened;
  const ended = ctx.clusters.started(opened.cluster, endpoint.workload.uid);
  const joined = pump(near, opened.stream);
  const limit = limitLife(ctx.clock, opened.cluster.policy.connection, joined);
  await joined.done;
  limit.cancel();
  ended();
  ctx.reports.opaque(c, startedMs, {
    endpoint: endpoint.workload,
    receivedBytes: joined.counts.nearToFar,
    sentBytes: joined.counts.farToNear,
    flags: limit.flag(),
    marks: opened.marks,
  });
}

/** Cuts a connection on which nothing moved for so long, and one that is too old (`DT`). */
function limitLife(clock: Clock, { quietMs, maxAgeMs }: ConnectionRules, joined: Pump) {
  const { counts } = joined;
  let flag = '-';
  let old: Timer | undefined;
  let quiet: Timer | undefined;
  const look = (before: number): void => {
    const now = counts.nearToFar + counts.farToNear;
    if (now === before) joined.abort(new Error('idle'));
    else quiet = clock.after(quietMs, () => look(now));
  };
  if (quietMs > 0) quiet = clock.after(quietMs, () => look(0));
  if (maxAgeMs > 0) {
    old = clock.after(maxAgeMs, () => {
      flag = 'DT';
      joined.abort(new Error('too old'));
    });
  }
  return {
    flag: () => flag,
    cancel: () => {
      old?.cancel();
      quiet?.cancel();
    },
  };
}
