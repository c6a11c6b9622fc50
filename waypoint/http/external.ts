// The phases that ask external authorizers (waypoint-l7.md 6.9): bounded in time and number, their answers carried out,
// their silence answered as configured. Questions go as all else goes: to an endpoint of the service, over HBONE
// where it has a tunnel.
import { PassThrough, type Readable, type Writable } from 'node:stream';
import type { WorkloadUid } from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Asked, AuthProvider } from '../l7/providers.ts';
import { type Attempted, UpstreamFailure } from '../upstream/attempt.ts';
import type { AttemptBody } from '../upstream/body.ts';
import { pickTarget } from '../upstream/pick.ts';
import { accessFacts } from './access-facts.ts';
import {
  changedHead,
  type CheckBody,
  type CheckFacts,
  checkHead,
  checkMessage,
  edited,
  frame,
  readCheck,
  readHttpCheck,
  unframe,
  type Verdict,
} from './check-plan.ts';
import { type Exchange, headerOf, type LocalReply, type RequestHead } from './exchange.ts';
import { reply } from './local-reply.ts';

const maxAnswer = 1 << 20;
/** Questions to one provider that wait; more are not asked. */
const maxWaiting = 1_000;
/** How long the start of a body is waited for. */
const bodyLimitMs = 60_000;
/** Between two lines about one provider. */
const logEveryMs = 1_000;

class Bytes implements AttemptBody {
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }
  attach(sink: Writable): void {
    sink.end(this.#bytes);
  }
  detach(): void {}
}

/** Why there was no answer: a word for logs and metrics. */
class NoAnswer extends Error {}

function collect(from: Readable, limit: number, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const end = (): void => resolve(Buffer.concat(parts));
    from.on('data', (part: Buffer) => {
      size += part.length;
      if (size > limit) reject(new NoAnswer('too long'));
      else parts.push(part);
    });
    from.once('end', end);
    from.once('error', () => reject(new NoAnswer('cut off')));
    from.once('close', () => reject(new NoAnswer('cut off')));
    if (signal.aborted) reject(new NoAnswer('timeout'));
    signal.addEventListener('abort', () => reject(new NoAnswer('timeout')), { once: true });
  });
}

function grpcHead(p: AuthProvider): RequestHead {
  return {
    method: 'POST',
    path: '/envoy.service.auth.v3.Authorization/Check',
    query: '',
    authority: p.cluster.service.split('/')[1] ?? '',
    headers: [
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
      ['grpc-timeout', `${p.timeoutMs}m`],
    ],
    version: '2',
    hasBody: true,
  };
}

/** To one endpoint, and to another where nothing could be sent to the first. */
async function send(
  ctx: WaypointContext,
  x: Exchange,
  p: AuthProvider,
  head: RequestHead,
  body: Buffer,
  signal: AbortSignal,
): Promise<Attempted> {
  const tried = new Set<WorkloadUid>();
  for (;;) {
    const endpoint = pickTarget(ctx, p.cluster, { tried });
    if (!endpoint || tried.has(endpoint.workload.uid)) throw new NoAnswer('no endpoint');
    tried.add(endpoint.workload.uid);
    try {
      return await ctx.upstreams.attempt({
        endpoint,
        cluster: p.cluster,
        breaker: ctx.clusters.breaker(p.cluster),
        protocol: p.http ? 'http' : 'http2',
        head,
        body: new Bytes(body),
        trailers: () => [],
        client: x.connection.source,
        serviceHost: p.cluster.service.split('/')[1] ?? '',
        traceparent: x.connection.traceparent,
        signal,
        inform: () => {},
      });
    } catch (error) {
      const unsent =
        error instanceof UpstreamFailure && /^(connect|refused|stale)/.test(error.kind);
      if (unsent && tried.size < 2 && !signal.aborted) continue;
      throw error;
    }
  }
}

async function question(
  ctx: WaypointContext,
  x: Exchange,
  p: AuthProvider,
  body: CheckBody | undefined,
  signal: AbortSignal,
): Promise<Verdict> {
  const head = p.http ? checkHead(p.http, x.head, body) : grpcHead(p);
  const bytes = p.http
    ? (body?.bytes ?? Buffer.alloc(0))
    : frame(checkMessage(p, x.head, factsOf(ctx, x), body));
  const answer = await send(ctx, x, p, head, bytes, signal);
  try {
    // An answer without a body has no end to wait for.
    const all = answer.ended ? Buffer.alloc(0) : await collect(answer.body, maxAnswer, signal);
    const verdict = p.http ? readHttpCheck(p.http, answer.head, all) : readGrpc(answer, all);
    if (!verdict) throw new NoAnswer('unusable');
    return verdict;
  } finally {
    answer.body.on('error', () => {});
    if (answer.ended) answer.body.resume();
    else if (!answer.body.readableEnded) answer.abort();
  }
}

function readGrpc(answer: Attempted, all: Buffer): Verdict | undefined {
  const status =
    headerOf(answer.trailers(), 'grpc-status') ?? headerOf(answer.head.headers, 'grpc-status');
  const message = unframe(all);
  return answer.head.status === 200 && status === '0' && message ? readCheck(message) : undefined;
}

function factsOf(ctx: WaypointContext, x: Exchange): CheckFacts {
  const { source, target, peer, service, sourceWorkload } = x.connection;
  return {
    source: { ip: source.ip, port: source.port, principal: peer.id ?? '' },
    sourceService: sourceWorkload?.canonicalName ?? '',
    target: { ip: target.ip, port: target.port, principal: ctx.identity },
    targetService: service.hostname,
    nowMs: ctx.clock.now(),
  };
}

/** Takes the start of the body off, and puts it back before the rest. */
async function peekBody(
  ctx: WaypointContext,
  x: Exchange,
  max: number,
): Promise<CheckBody | 'late'> {
  const from = x.body;
  const parts: Buffer[] = [];
  let size = 0;
  let ended = !x.head.hasBody;
  let late = false;
  if (x.head.hasBody) {
    if (headerOf(x.head.headers, 'expect')?.toLowerCase() === '100-continue')
      x.down.inform({ status: 100, headers: [] });
    ended = await new Promise<boolean>((resolve) => {
      const take = (part: Buffer): void => {
        parts.push(part);
        size += part.length;
        if (size > max) done(false);
      };
      const timer = ctx.clock.after(bodyLimitMs, () => {
        late = true;
        done(false);
      });
      const done = (end: boolean): void => {
        timer.cancel();
        from.pause();
        from.off('data', take);
        resolve(end);
      };
      from.on('data', take);
      from.once('end', () => done(true));
      from.once('close', () => done(false));
    });
  }
  if (late) return 'late';
  const held = new PassThrough();
  for (const part of parts) held.write(part);
  if (ended) held.end();
  else from.pipe(held);
  x.body = held;
  const bytes = Buffer.concat(parts);
  return { bytes: bytes.subarray(0, max), whole: ended && bytes.length <= max };
}

/** What is waiting and what was said of each provider; a value of the context, so that it ends with it. */
export class Checks {
  readonly #waiting = new Map<string, number>();
  readonly #logged = new Map<string, number>();

  /** The way to end it, or nothing: too many wait. */
  start(name: string): (() => void) | undefined {
    const n = this.#waiting.get(name) ?? 0;
    if (n >= maxWaiting) return undefined;
    this.#waiting.set(name, n + 1);
    return () => void this.#waiting.set(name, (this.#waiting.get(name) ?? 1) - 1);
  }

  mayLog(name: string, nowMs: number): boolean {
    if (nowMs - (this.#logged.get(name) ?? Number.NEGATIVE_INFINITY) < logEveryMs) return false;
    this.#logged.set(name, nowMs);
    return true;
  }
}

async function ask(
  ctx: WaypointContext,
  x: Exchange,
  p: AuthProvider,
  body: CheckBody | undefined,
): Promise<Verdict | string> {
  const ended = ctx.checks.start(p.name);
  if (!ended) return 'overflow';
  const limit = new AbortController();
  const timer = ctx.clock.after(p.timeoutMs, () => limit.abort(new NoAnswer('timeout')));
  const signal = AbortSignal.any([limit.signal, x.down.gone]);
  try {
    return await question(ctx, x, p, body, signal);
  } catch (error) {
    if (limit.signal.aborted) return 'timeout';
    return error instanceof NoAnswer || error instanceof UpstreamFailure
      ? error.message
      : 'internal error';
  } finally {
    timer.cancel();
    ended();
  }
}

function count(ctx: WaypointContext, p: AuthProvider, outcome: string): void {
  ctx.reports.metrics.checks.add({ provider: p.name, outcome });
}

function failed(
  ctx: WaypointContext,
  p: AuthProvider,
  policy: string,
  why: string,
): LocalReply | undefined {
  const open = p.failOpen && !p.broken;
  count(ctx, p, open ? 'failed-open' : 'failed-closed');
  if (ctx.checks.mayLog(p.name, ctx.clock.monotonic())) {
    ctx.log.warn('external authorizer gave no answer', { provider: p.name, why, allowed: open });
  }
  if (open) return undefined;
  return reply(p.statusOnError, '', 'UAEX', 'ext_authz_error', {
    reason: 'AUTHORIZER_UNAVAILABLE',
    policy,
  });
}

function carryOut(x: Exchange, policy: string, v: Verdict): LocalReply | undefined {
  if (!v.allow) {
    const headers = v.headers.filter(([n]) => n !== 'content-type' || v.body === '');
    const type = headerOf(v.headers, 'content-type');
    return reply(v.status, v.body, 'UAEX', 'ext_authz_denied', {
      headers,
      ...(type !== undefined && v.body !== '' && { type }),
      reason: 'AUTHORIZER_DENIED',
      policy,
    });
  }
  x.head = changedHead(x.head, v);
  x.upstream = x.head;
  if (v.response.length > 0) {
    const { response } = v;
    x.responseHeaders.push((h) => edited(h, response));
  }
  return undefined;
}

async function askOne(
  ctx: WaypointContext,
  x: Exchange,
  { provider: p, policy }: Asked,
): Promise<LocalReply | undefined> {
  if (p.broken) return failed(ctx, p, policy, 'it is not defined');
  let body: CheckBody | undefined;
  if (p.body) {
    const peeked = await peekBody(ctx, x, p.body.max);
    if (peeked === 'late') return reply(408, 'request timeout', '-', 'request_overall_timeout');
    body = peeked;
    if (!body.whole && !p.body.partial && body.bytes.length >= p.body.max)
      return reply(413, 'Payload Too Large', '-', 'request_payload_too_large', { policy });
  }
  const verdict = await ask(ctx, x, p, body);
  if (x.down.gone.aborted) return reply(503, '', 'DC', 'downstream_remote_disconnect');
  if (typeof verdict === 'string') return failed(ctx, p, policy, verdict);
  count(ctx, p, verdict.allow ? 'allowed' : 'denied');
  return carryOut(x, policy, verdict);
}

/** A phase: everybody who is asked must allow. */
export async function askOthers(
  ctx: WaypointContext,
  x: Exchange,
  afterTokens: boolean,
): Promise<LocalReply | undefined> {
  const { external } = x.connection.service;
  for (const asked of external?.toAsk(accessFacts(x), afterTokens) ?? []) {
    const refusal = await askOne(ctx, x, asked);
    if (refusal) return refusal;
  }
  return undefined;
}
