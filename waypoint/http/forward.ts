// Carries a request to an endpoint and its answer back. The one loop is the retry, bounded by attempts and
// only while no answer has gone downstream (style-models.md 6.2).
import type { Readable, Writable } from 'node:stream';
import { fromUnknown, printIpPort } from '../../core/base/index.ts';
import { pump } from '../../core/hbone/index.ts';
import type { NamespacedHost, WorkloadUid } from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Backend } from '../l7/backend.ts';
import { type Attempted, UpstreamFailure } from '../upstream/attempt.ts';
import { RequestBody } from '../upstream/body.ts';
import { pickBackend, pickTarget } from '../upstream/pick.ts';
import type { Endpoint } from '../upstream/tunnels.ts';
import {
  type Exchange,
  headerOf,
  type HeaderList,
  type LocalReply,
  type RequestHead,
} from './exchange.ts';
import { changeHeaders, changeRequest } from './filters.ts';
import { cleanResponse, setHeader } from './headers.ts';
import { reply, serverName } from './local-reply.ts';
import {
  type Happened,
  retryDelay,
  retryReason,
  retryRules,
  type RetryRules,
  triesAllowed,
} from './retry.ts';

interface Way {
  readonly service: NamespacedHost;
  readonly port: number;
  readonly protocol: 'http' | 'http2';
  readonly head: RequestHead;
  readonly change: (headers: HeaderList) => HeaderList;
}

const noCluster = reply(500, '', 'NC', 'cluster_not_found', { grpcStatus: 14 });

function protocolOf(declared: Backend['protocol'], head: RequestHead): 'http' | 'http2' {
  if (head.upgrade !== undefined) return 'http';
  if (declared === 'http2') return 'http2';
  return declared === 'detect' && head.version === '2' ? 'http2' : 'http';
}

function wayOf(ctx: WaypointContext, x: Exchange): Way | undefined {
  const { rule, connection: c } = x;
  if (!rule) {
    const protocol = protocolOf(c.port.protocol, x.upstream);
    const own = { service: c.service.key, port: c.port.port, protocol };
    return { ...own, head: x.upstream, change: (h) => h };
  }
  const backend = pickBackend(ctx, rule.backends);
  if (!backend || backend.invalid) return undefined;
  const { requestHeaders, responseHeaders } = backend;
  const head = requestHeaders ? changeRequest(x.upstream, requestHeaders) : x.upstream;
  return {
    service: backend.service,
    port: backend.port,
    protocol: protocolOf(backend.protocol, x.upstream),
    head,
    change: (h) => (responseHeaders ? changeHeaders(h, responseHeaders) : h),
  };
}

type Tried =
  | { readonly ok: true; readonly attempted: Attempted; readonly endpoint: Endpoint }
  | {
      readonly ok: false;
      readonly failure: UpstreamFailure | 'per-try-timeout' | 'none' | 'timeout';
    };

/** A phase: answers by itself only when no upstream answer can be had. */
export async function forward(ctx: WaypointContext, x: Exchange): Promise<LocalReply | undefined> {
  const way = wayOf(ctx, x);
  if (!way) return noCluster;
  x.outcome.backend = way.service;
  const body = new RequestBody(
    x.head.hasBody ? x.down.body : undefined,
    ctx.config.retryBufferBytes,
  );
  const limit = requestLimit(ctx, x, body);
  mirror(ctx, x, way);
  try {
    return await tryAll(ctx, x, way, body, limit.signal);
  } finally {
    limit.cancel();
    body.discard();
    x.outcome.bytesReceived = body.bytes;
  }
}

/** The route's time limit starts when the whole request has come in (3.5). */
function requestLimit(ctx: WaypointContext, x: Exchange, body: RequestBody) {
  const ms = x.rule?.requestTimeoutMs ?? 0;
  const abort = new AbortController();
  let cancel = (): void => {};
  const start = (): void => {
    const timer = ctx.clock.after(ms, () => abort.abort(new Error('request timeout')));
    cancel = () => timer.cancel();
  };
  if (ms > 0) {
    if (body.complete) start();
    else x.down.body.once('end', start);
  }
  return { signal: abort.signal, cancel: () => cancel() };
}

async function tryAll(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  body: RequestBody,
  limit: AbortSignal,
): Promise<LocalReply | undefined> {
  const rules = retryRules(x.rule?.retry);
  const tried = new Set<WorkloadUid>();
  for (let n = 1; ; n++) {
    x.outcome.attempts = n;
    const result = await tryOnce(ctx, x, way, body, limit, tried);
    const happened = happenedOf(result);
    const again = happened && retryReason(rules, happened);
    const may = again !== undefined && body.replayable && !limit.aborted && !x.down.gone.aborted;
    if (may && n <= triesAllowed(rules, happened) && x.head.upgrade === undefined) {
      if (result.ok) drop(result.attempted);
      ctx.reports.metrics.retries.add({ destination_service: way.service, after: again });
      await pause(ctx, rules, n, [limit, x.down.gone]);
      continue;
    }
    if (result.ok) {
      await respond(ctx, x, way, result.attempted, limit);
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
  return { kind: 'failed', failure: t.failure === 'per-try-timeout' ? t.failure : t.failure.kind };
}

function drop(a: Attempted): void {
  a.body.on('error', () => {});
  a.abort();
}

function pause(
  ctx: WaypointContext,
  rules: RetryRules,
  n: number,
  ends: readonly AbortSignal[],
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      for (const s of ends) s.removeEventListener('abort', done);
      resolve();
    };
    const timer = ctx.clock.after(retryDelay(rules, n, ctx.random), done);
    for (const s of ends) s.addEventListener('abort', done, { once: true });
  });
}

async function tryOnce(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  body: RequestBody,
  limit: AbortSignal,
  tried: Set<WorkloadUid>,
): Promise<Tried> {
  if (limit.aborted) return { ok: false, failure: 'timeout' };
  const endpoint = pickTarget(ctx, way.service, way.port, tried);
  if (!endpoint) return { ok: false, failure: 'none' };
  const { uid } = endpoint.workload;
  tried.add(uid);
  x.outcome.endpoint = endpoint.workload;
  x.outcome.endpointAddress = printIpPort({ ip: endpoint.address, port: endpoint.port });
  const perTry = new AbortController();
  const ms = x.rule?.backendTimeoutMs ?? 0;
  const timer =
    ms > 0 ? ctx.clock.after(ms, () => perTry.abort(new Error('per-try timeout'))) : undefined;
  const ended = ctx.health.started(way.service, uid);
  const began = ctx.clock.monotonic();
  try {
    const attempted = await ctx.upstreams.attempt({
      endpoint,
      protocol: way.protocol,
      head: way.head,
      body,
      trailers: () => x.down.trailers(),
      client: x.connection.source,
      serviceHost: x.connection.service.hostname,
      traceparent: x.connection.traceparent,
      signal: AbortSignal.any([limit, perTry.signal, x.down.gone]),
      connectTimeoutMs: x.connection.service.traffic?.connectTimeoutMs ?? 0,
      inform: (head) => x.down.inform(head),
    });
    timer?.cancel();
    attempted.body.once('close', ended);
    x.outcome.upstreamMs = ctx.clock.monotonic() - began;
    note(ctx, x, way, uid, attempted.head.status);
    return { ok: true, attempted, endpoint };
  } catch (caught) {
    timer?.cancel();
    ended();
    if (x.down.gone.aborted) return { ok: false, failure: new UpstreamFailure('gone') };
    note(ctx, x, way, uid, 503);
    if (limit.aborted) return { ok: false, failure: 'timeout' };
    if (perTry.signal.aborted) return { ok: false, failure: 'per-try-timeout' };
    const failure =
      caught instanceof UpstreamFailure
        ? caught
        : new UpstreamFailure('reset', fromUnknown(caught, 'INTERNAL'));
    return { ok: false, failure };
  }
}

function note(ctx: WaypointContext, x: Exchange, way: Way, uid: WorkloadUid, status: number): void {
  const ejected = ctx.health.outcome({
    service: way.service,
    uid,
    result: status >= 502 && status <= 504 ? 'gateway' : status >= 500 ? '5xx' : 'ok',
    policy: x.connection.service.traffic?.outlier ?? undefined,
    endpoints: ctx.view.endpoints(way.service).size,
    nowMs: ctx.clock.monotonic(),
  });
  if (ejected) ctx.log.info('endpoint ejected', { endpoint: uid, service: way.service });
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
  if (f.fault?.policy !== undefined) x.outcome.policy = f.fault.policy;
  return reply(status, text, flags, details, f.fault ? { reason: f.fault.code } : {});
}

const bodiless = (x: Exchange, status: number): boolean =>
  x.head.method === 'HEAD' || status === 204 || status === 304;

async function respond(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  a: Attempted,
  limit: AbortSignal,
): Promise<void> {
  const { outcome, down } = x;
  outcome.status = a.head.status;
  outcome.details = 'via_upstream';
  let headers = cleanResponse(a.head.headers);
  headers = way.change(headers);
  for (const change of x.responseHeaders) headers = change(headers);
  headers = setHeader(headers, 'server', serverName);
  headers = setHeader(
    headers,
    'x-envoy-upstream-service-time',
    String(Math.round(outcome.upstreamMs ?? 0)),
  );
  if (headerOf(headers, 'date') === undefined) {
    headers = setHeader(headers, 'date', new Date(ctx.clock.now()).toUTCString());
  }
  outcome.grpcStatus = headerOf(headers, 'grpc-status') ?? '';
  const head = { status: a.head.status, headers };
  if (a.switched) {
    const joined = pump(down.switch(head), a.switched);
    const cut = (): void => joined.abort(new Error('draining'));
    limit.addEventListener('abort', cut, { once: true });
    await joined.done;
    outcome.bytesSent = joined.counts.farToNear;
    return;
  }
  const end = a.ended === true || (bodiless(x, head.status) && way.protocol === 'http2');
  const sink = down.respond(head, end);
  if (end) {
    a.body.on('error', () => {});
    a.body.resume();
    return;
  }
  const cut = await copy(a, sink, x);
  if (!cut) return;
  const timedOut = limit.aborted;
  outcome.flags = down.gone.aborted ? 'DC' : timedOut ? 'UT' : 'UC';
  outcome.details = down.gone.aborted
    ? 'downstream_remote_disconnect'
    : 'upstream_reset_after_response_started';
  a.abort();
  down.abort();
}

/** With back-pressure; true = it did not end in order. */
function copy(a: Attempted, to: Writable, x: Exchange): Promise<boolean> {
  const from: Readable = a.body;
  return new Promise((resolve) => {
    let over = false;
    const done = (cut: boolean): void => {
      if (over) return;
      over = true;
      resolve(cut);
    };
    from.on('data', (chunk: Buffer) => {
      x.outcome.bytesSent += chunk.length;
      if (to.destroyed) return;
      if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('end', () => {
      if ('complete' in from && from.complete === false) return done(true);
      if ('rstCode' in from && typeof from.rstCode === 'number' && from.rstCode !== 0)
        return done(true);
      const trailers = a.trailers();
      x.down.trail(trailers);
      const status = headerOf(trailers, 'grpc-status');
      if (status !== undefined) x.outcome.grpcStatus = status;
      to.end(() => done(false));
    });
    from.on('error', () => done(true));
    from.on('close', () => {
      if (!from.readableEnded) done(true);
    });
    to.on('error', () => done(true));
    to.on('close', () => done(!to.writableFinished));
  });
}

/** Copies go to one endpoint each; nobody waits for them, nobody hears of their failures. */
function mirror(ctx: WaypointContext, x: Exchange, way: Way): void {
  for (const { backend, share } of x.rule?.mirrors ?? []) {
    if (ctx.random.next() >= share || x.head.upgrade !== undefined) continue;
    const endpoint = pickTarget(ctx, backend.service, backend.port, new Set());
    if (!endpoint) continue;
    const body = new RequestBody(
      x.head.hasBody ? x.down.body : undefined,
      ctx.config.retryBufferBytes,
    );
    ctx.upstreams
      .attempt({
        endpoint,
        protocol: protocolOf(backend.protocol, x.upstream),
        head: way.head,
        body,
        trailers: () => [],
        client: x.connection.source,
        serviceHost: x.connection.service.hostname,
        traceparent: x.connection.traceparent,
        signal: AbortSignal.timeout(30_000),
        inform: () => {},
      })
      .then(
        (a) => {
          a.body.on('error', () => {});
          a.body.resume();
        },
        () => {},
      );
  }
}
