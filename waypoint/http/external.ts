// The phases that ask external authorizers (waypoint-l7.md 6.9): bounded in time and number, their answers carried out,
// their silence answered as configured. Questions go as all else goes: to an endpoint of the service, over HBONE
// where it has a tunnel.
import { PassThrough } from 'node:stream';
import type { WaypointContext } from '../context.ts';
import type { Asked, AuthProvider } from '../l7/providers.ts';
import { Cancellation, MeshError } from '../../core/base/index.ts';
import { accessFacts, connectionFacts } from './access-facts.ts';
import {
  changedHead,
  type CheckBody,
  type CheckFacts,
  checkHead,
  checkMessage,
  connectionMessage,
  edited,
  readCheck,
  readHttpCheck,
  type Verdict,
} from './check-plan.ts';
import { type Exchange, headerOf, type L7Connection, type LocalReply } from './exchange.ts';
import { reply } from './local-reply.ts';
import { call, callGrpc, NoAnswer, type SideTarget } from './side-call.ts';

const path = '/envoy.service.auth.v3.Authorization/Check';
/** How long the start of a body is waited for. */
const bodyLimitMs = 60_000;

async function question(
  ctx: WaypointContext,
  x: Exchange,
  p: AuthProvider,
  body: CheckBody | undefined,
  stop: Cancellation,
): Promise<Verdict> {
  const to = { cluster: p.cluster, timeoutMs: p.timeoutMs, stop };
  const verdict = p.http
    ? await askHttp(ctx, x, to, p.http, body)
    : readCheck(
        await callGrpc(ctx, x, to, path, checkMessage(p, x.head, factsOf(ctx, x.connection), body)),
      );
  if (!verdict) throw new NoAnswer('unusable');
  return verdict;
}

async function askHttp(
  ctx: WaypointContext,
  x: Exchange,
  to: SideTarget,
  http: NonNullable<AuthProvider['http']>,
  body: CheckBody | undefined,
): Promise<Verdict | undefined> {
  const head = checkHead(http, x.head, body);
  const answer = await call(ctx, x, to, 'http', head, body?.bytes ?? Buffer.alloc(0));
  return readHttpCheck(http, answer.head, answer.body);
}

function factsOf(ctx: WaypointContext, c: L7Connection): CheckFacts {
  const { source, target, peer, service, sourceWorkload } = c;
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

function count(ctx: WaypointContext, p: AuthProvider, outcome: string): void {
  ctx.reports.metrics.checks.add({ provider: p.name, outcome });
}

/** True = it fails open. */
function passes(ctx: WaypointContext, p: AuthProvider, why: string): boolean {
  const open = p.failOpen && !p.broken;
  count(ctx, p, open ? 'failed-open' : 'failed-closed');
  if (ctx.sideCalls.mayLog(`authorizer ${p.name}`, ctx.clock.monotonic())) {
    ctx.log.warn('external authorizer gave no answer', { provider: p.name, why, allowed: open });
  }
  return open;
}

function failed(
  ctx: WaypointContext,
  p: AuthProvider,
  policy: string,
  why: string,
): LocalReply | undefined {
  if (passes(ctx, p, why)) return undefined;
  return reply(p.statusOnError, '', 'UAEX', 'ext_authz_error', {
    reason: 'AUTHORIZER_UNAVAILABLE',
    policy,
  });
}

function carryOut(x: Exchange, policy: string, v: Verdict): LocalReply | undefined {
  x.metadata = { ...x.metadata, ...v.metadata };
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
  const told = await ctx.sideCalls.within(ctx, x, `authorizer ${p.name}`, p.timeoutMs, (stop) =>
    question(ctx, x, p, body, stop),
  );
  if (x.down.gone.aborted) return reply(503, '', 'DC', 'downstream_remote_disconnect');
  if ('failed' in told) return failed(ctx, p, policy, told.failed);
  const { answer: verdict } = told;
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
  for (const asked of external?.toAsk(
    accessFacts(x),
    afterTokens ? 'after tokens' : 'before tokens',
  ) ?? []) {
    const refusal = await askOne(ctx, x, asked);
    if (refusal) return refusal;
  }
  return undefined;
}

/** An opaque connection: who calls and where to is all that can be asked about. The reason of a refusal. */
export async function askAboutConnection(
  ctx: WaypointContext,
  c: L7Connection,
): Promise<MeshError | undefined> {
  const asker = { connection: c, down: { gone: new Cancellation() } };
  for (const { provider: p, policy } of c.service.external?.toAsk(connectionFacts(c), 'all') ??
    []) {
    const unfit = p.broken ? 'it is not defined' : p.http && 'it speaks HTTP alone';
    const { cluster, timeoutMs } = p;
    const told =
      unfit !== undefined
        ? { failed: unfit }
        : await ctx.sideCalls.within(
            ctx,
            asker,
            `authorizer ${p.name}`,
            timeoutMs,
            async (stop) => {
              const message = connectionMessage(factsOf(ctx, c));
              const to = { cluster, timeoutMs, stop };
              const verdict = readCheck(await callGrpc(ctx, asker, to, path, message));
              if (!verdict) throw new NoAnswer('unusable');
              return verdict.allow;
            },
          );
    if ('failed' in told) {
      // Who can never be asked is not passed over.
      if (unfit === undefined && passes(ctx, p, told.failed)) continue;
      if (unfit !== undefined) passes(ctx, { ...p, failOpen: false }, unfit);
      return new MeshError('AUTHORIZER_UNAVAILABLE', { policy });
    }
    count(ctx, p, told.answer ? 'allowed' : 'denied');
    if (!told.answer) return new MeshError('AUTHORIZER_DENIED', { policy });
  }
  return undefined;
}
