// Carries a request to an endpoint and its answer back. The one loop is the retry, bounded by attempts and
// only while no answer has gone downstream (style-models.md 6.2).
import { Cancellation, fromUnknown, printIpPort } from '../../core/base/index.ts';
import type { WorkloadUid } from '../../core/model/index.ts';
import type { Result } from '../balance/outlier.ts';
import type { WaypointContext } from '../context.ts';
import type { Cluster } from '../l7/cluster.ts';
import { type Attempted, UpstreamFailure } from '../upstream/attempt.ts';
import { RequestBody } from '../upstream/body.ts';
import { clusterEndpoints, pickTarget } from '../upstream/pick.ts';
import type { Endpoint } from '../upstream/tunnels.ts';
import { type Exchange, headerOf, type LocalReply, type ResponseHead } from './exchange.ts';
import { httpOfGrpc, reply } from './local-reply.ts';
import { mirror } from './mirror.ts';
import { pluginsOf, pluginsOnResponse, pluginsPick } from './plugin-phases.ts';
import { respond } from './respond.ts';
import {
  type Happened,
  retryDelay,
  retryReason,
  retryRules,
  type RetryRules,
  triesAllowed,
} from './retry.ts';
import { type Way, wayOf } from './way.ts';

type Tried =
  | { readonly ok: true; readonly attempted: Attempted; readonly endpoint: Endpoint }
  | {
      readonly ok: false;
      readonly failure: UpstreamFailure | 'per-try-timeout' | 'none' | 'timeout';
    };

/** A phase: answers by itself only when no upstream answer can be had. */
export async function forward(ctx: WaypointContext, x: Exchange): Promise<LocalReply | undefined> {
  let way = wayOf(ctx, x);
  if (!('status' in way) && pluginsOf(ctx, x)) way = await pluginsPick(ctx, x, way);
  if ('status' in way) return way;
  x.outcome.backend = way.cluster.service;
  const body = new RequestBody(x.head.hasBody ? x.body : undefined, ctx.config.retryBufferBytes);
  const limit = requestLimit(ctx, x, body);
  mirror(ctx, x, way, body);
  try {
    return await tryAll(ctx, x, way, body, limit.reached);
  } finally {
    limit.cancel();
    body.discard();
    x.outcome.bytesReceived = body.bytes;
  }
}

/** The route's time limit starts when the whole request has come in (3.5). */
function requestLimit(ctx: WaypointContext, x: Exchange, body: RequestBody) {
  const ms = x.rule?.requestTimeoutMs ?? 0;
  const reached = new Cancellation();
  let cancel = (): void => {};
  const start = (): void => {
    const timer = ctx.clock.after(ms, () => reached.abort(new Error('request timeout')));
    cancel = () => timer.cancel();
  };
  if (ms > 0) {
    if (body.complete) start();
    else x.body.once('end', start);
  }
  return { reached, cancel: () => cancel() };
}

async function tryAll(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  body: RequestBody,
  limit: Cancellation,
): Promise<LocalReply | undefined> {
  const rules = retryRules(x.rule?.retry ?? x.connection.service.defaultRetry);
  const tried = new Set<WorkloadUid>();
  const breaker = ctx.clusters.breaker(way.cluster);
  let retrying: (() => void) | undefined;
  for (let n = 1; ; n++) {
    x.outcome.attempts = n;
    const result = await tryOnce(ctx, x, way, body, limit, rules.sameHost ? new Set() : tried);
    retrying?.();
    retrying = undefined;
    const happened = happenedOf(result);
    const again = happened && retryReason(rules, happened);
    const may = again !== undefined && body.replayable && !limit.aborted && !x.down.gone.aborted;
    const left = may && n <= triesAllowed(rules, happened, again) && x.head.upgrade === undefined;
    if (left) retrying = breaker.take('retries', way.cluster.policy.breaker);
    if (left && retrying) {
      if (result.ok) drop(result.attempted);
      const service = way.cluster.service;
      ctx.reports.metrics.retries.add({ destination_service: service, after: again });
      await pause(ctx, rules, n, [limit, x.down.gone]);
      continue;
    }
    if (result.ok) {
      const instead = pluginsOf(ctx, x) && (await throughPlugins(ctx, x, result.attempted));
      if (instead) return instead;
      await respond(ctx, x, way, result.endpoint.workload, result.attempted, limit);
      return undefined;
    }
    return failed(x, result.failure, n, again !== undefined);
  }
}

function happenedOf(t: Tried): Happened | undefined {
  if (t.ok) {
    const { status, headers } = t.attempted.head;
    return { kind: 'answered', status, headers };
  }
  if (t.failure === 'none' || t.failure === 'timeout') return undefined;
  // Its addresses are the same the next time; a caller chooses such names, and pays for each try with ours.
  if (t.failure !== 'per-try-timeout' && t.failure.fault?.code === 'NAME_NOT_ALLOWED') {
    return undefined;
  }
  return { kind: 'failed', failure: t.failure === 'per-try-timeout' ? t.failure : t.failure.kind };
}

function drop(a: Attempted): void {
  a.body.on('error', () => {});
  a.abort();
}

/** Plugins see the head first; what goes wrong with the body meanwhile is seen when it is copied. */
async function throughPlugins(
  ctx: WaypointContext,
  x: Exchange,
  a: Attempted,
): Promise<LocalReply | undefined> {
  const quiet = (): void => {};
  a.body.on('error', quiet);
  const instead = await pluginsOnResponse(ctx, x, a.head);
  if (instead) drop(a);
  else a.body.off('error', quiet);
  return instead;
}

function pause(
  ctx: WaypointContext,
  rules: RetryRules,
  n: number,
  ends: readonly Cancellation[],
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      for (const stay of waits) stay();
      resolve();
    };
    const timer = ctx.clock.after(retryDelay(rules, n, ctx.random), done);
    const waits = ends.map((e) => e.onAbort(done));
  });
}

async function tryOnce(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  body: RequestBody,
  limit: Cancellation,
  tried: Set<WorkloadUid>,
): Promise<Tried> {
  if (limit.aborted) return { ok: false, failure: 'timeout' };
  const { cluster, hash, pinned } = way;
  const breaker = ctx.clusters.breaker(cluster);
  const request = breaker.take('requests', cluster.policy.breaker);
  if (!request) return { ok: false, failure: new UpstreamFailure('overflow') };
  const wanted = x.connection.target;
  const endpoint = pickTarget(ctx, cluster, { tried, hash, pinned, wanted });
  if (!endpoint) {
    request();
    return { ok: false, failure: 'none' };
  }
  const { uid } = endpoint.workload;
  tried.add(uid);
  x.outcome.endpoint = endpoint.workload;
  const { host, address: ip, port } = endpoint;
  x.outcome.endpointAddress = host === undefined ? printIpPort({ ip, port }) : `${host}:${port}`;
  const perTry = new Cancellation();
  const ms = x.rule?.backendTimeoutMs ?? 0;
  const timer =
    ms > 0 ? ctx.clock.after(ms, () => perTry.abort(new Error('per-try timeout'))) : undefined;
  const running = ctx.clusters.started(cluster, uid);
  const ended = (): void => {
    running();
    request();
  };
  const began = ctx.clock.monotonic();
  try {
    const attempted = await ctx.upstreams.attempt({
      endpoint,
      cluster,
      breaker,
      protocol: way.protocol,
      head: way.head,
      body,
      trailers: () => x.down.trailers(),
      client: x.connection.source,
      target: x.connection.target,
      serviceHost: hostFor(x, cluster),
      traceparent: x.connection.traceparent,
      stop: Cancellation.any(limit, perTry, x.down.gone),
      inform: (head) => x.down.inform(head),
    });
    timer?.cancel();
    (attempted.switched ?? attempted.body).once('close', ended);
    x.outcome.upstreamMs = ctx.clock.monotonic() - began;
    note(ctx, cluster, uid, { kind: 'answer', status: statusOf(attempted.head) });
    return { ok: true, attempted, endpoint };
  } catch (caught) {
    timer?.cancel();
    ended();
    if (x.down.gone.aborted) return { ok: false, failure: new UpstreamFailure('gone') };
    const counts = !(caught instanceof UpstreamFailure) || !notTheirs.has(caught.kind);
    if (counts) note(ctx, cluster, uid, { kind: 'local' });
    if (limit.aborted) return { ok: false, failure: 'timeout' };
    if (perTry.aborted) return { ok: false, failure: 'per-try-timeout' };
    const failure =
      caught instanceof UpstreamFailure
        ? caught
        : new UpstreamFailure('reset', fromUnknown(caught, 'INTERNAL'));
    return { ok: false, failure };
  }
}

/** Failures that say nothing about the endpoint. */
const notTheirs: ReadonlySet<string> = new Set(['overflow', 'gone', 'stale']);

/** What the caller asked for: at an ingress gateway nobody means the gateway itself. */
const hostFor = (x: Exchange, c: Cluster): string =>
  x.connection.edge ? c.service.slice(c.service.indexOf('/') + 1) : x.connection.service.hostname;

/** gRPC tells its status in the headers of an answer without a body. */
function statusOf(head: ResponseHead): number {
  const grpc = headerOf(head.headers, 'grpc-status');
  return grpc === undefined ? head.status : httpOfGrpc(Number(grpc));
}

function note(ctx: WaypointContext, cluster: Cluster, uid: WorkloadUid, result: Result): void {
  if (!cluster.policy.outlier) return;
  const endpoints = clusterEndpoints(ctx, cluster).length;
  const ejected = ctx.clusters.outcome(cluster, uid, result, endpoints);
  if (!ejected) return;
  const { why, forMs } = ejected;
  ctx.log.info('endpoint ejected', { endpoint: uid, cluster: cluster.key, why, forMs });
  ctx.reports.metrics.ejections.add({ destination_service: cluster.service, after: why });
}

function failed(
  x: Exchange,
  f: Exclude<Tried, { ok: true }>['failure'],
  attempts: number,
  limitHit: boolean,
): LocalReply {
  if (f === 'none')
    return reply(503, 'no healthy upstream', 'UH', 'no_healthy_upstream', {
      reason: 'NO_HEALTHY_UPSTREAM',
    });
  if (f === 'timeout') return reply(504, 'upstream request timeout', 'UT', 'response_timeout');
  if (f === 'per-try-timeout') {
    return reply(504, 'upstream request timeout', 'UT', 'upstream_per_try_timeout');
  }
  const again = attempts > 1 ? 'retried and the latest reset reason' : 'reset reason';
  const flags = attempts > 1 && limitHit ? `${f.flag},URX` : f.flag;
  const text = `upstream connect error or disconnect/reset before headers. ${again}: ${f.message}`;
  const details = `upstream_reset_before_response_started{${f.message.replaceAll(' ', '_')}}`;
  const status = f.kind === 'protocol' ? 502 : 503;
  if (f.kind === 'overflow') {
    return reply(status, text, flags, details, { headers: [['x-envoy-overloaded', 'true']] });
  }
  if (f.fault?.policy !== undefined) x.outcome.policy = f.fault.policy;
  return reply(status, text, flags, details, f.fault ? { reason: f.fault.code } : {});
}
