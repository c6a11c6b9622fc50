// The phase that holds requests to their limits: counted here, or asked of a service that counts for all replicas
// (waypoint-l7.md 10). A service that gives no answer lets go on, unless its policy says otherwise.
import { decode, encode } from '../../core/rpc/index.ts';
import type { WaypointContext } from '../context.ts';
import type { AccessFacts } from '../l7/access.ts';
import type { RateLimit, SharedService } from '../l7/rate-limits.ts';
import { accessFacts } from './access-facts.ts';
import type { Exchange, HeaderList, LocalReply } from './exchange.ts';
import { chargeLocal, limitHeaders, type Standing } from './limit-plan.ts';
import { reply } from './local-reply.ts';
import { callGrpc } from './side-call.ts';

const path = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';
const unitOf: Readonly<Record<number, number>> = {
  1_000: 1,
  60_000: 2,
  3_600_000: 3,
  86_400_000: 4,
};
const overLimit = 2;

const resourceExhausted = 8;

function count(ctx: WaypointContext, l: RateLimit, outcome: string): void {
  ctx.reports.metrics.rateLimits.add({ policy: l.policy, limit: l.name, outcome });
}

function refused(s: Standing, headers: HeaderList): LocalReply {
  const details = s.limit.shared ? 'request_rate_limited' : 'local_rate_limited';
  return reply(429, s.limit.shared ? '' : 'local_rate_limited', 'RL', details, {
    headers: [
      ['x-envoy-ratelimited', 'true'],
      ['retry-after', String(Math.max(1, s.resetSeconds))],
      ...headers,
    ],
    reason: 'RATE_LIMITED',
    policy: s.limit.policy,
    grpcStatus: resourceExhausted,
  });
}

/** Limits of one service are asked of it together. */
async function askShared(
  ctx: WaypointContext,
  x: Exchange,
  service: SharedService,
  limits: readonly RateLimit[],
  f: AccessFacts,
): Promise<Standing[] | string> {
  const message = encode('envoy.service.ratelimit.v3.RateLimitRequest', {
    domain: service.domain,
    descriptors: limits.map((l) => ({
      entries: [['limit', `${l.policy}/${l.name}`] as const, ...l.entries(f)].map(
        ([key, value]) => ({ key, value }),
      ),
      limit: { requestsPerUnit: l.plan.tokens, unit: unitOf[l.plan.perMs] ?? 1 },
    })),
  });
  const { timeoutMs, cluster } = service;
  const name = `rate limits ${cluster.key}`;
  const told = await ctx.sideCalls.within(ctx, x, name, timeoutMs, async (stop) => {
    const bytes = await callGrpc(ctx, x, { cluster, timeoutMs, stop }, path, message);
    return decode('envoy.service.ratelimit.v3.RateLimitResponse', bytes);
  });
  if ('failed' in told) return told.failed;
  const { statuses } = told.answer;
  if (statuses.length !== limits.length) return 'unusable';
  return limits.map((limit, i) => ({
    limit,
    over: statuses[i]?.code === overLimit,
    remaining: statuses[i]?.limitRemaining ?? 0,
    resetSeconds: Number(statuses[i]?.durationUntilReset?.seconds ?? 0),
  }));
}

function noAnswer(
  ctx: WaypointContext,
  service: SharedService,
  limits: readonly RateLimit[],
  why: string,
): LocalReply | undefined {
  for (const l of limits) count(ctx, l, 'error');
  const closed = service.failClosed && limits.some((l) => !l.dryRun);
  if (ctx.sideCalls.mayLog(`rate limits ${service.cluster.key}`, ctx.clock.monotonic())) {
    const where = service.cluster.service;
    ctx.log.warn('rate limit service gave no answer', { service: where, why, allowed: !closed });
  }
  if (!closed) return undefined;
  return reply(500, '', 'RLSE', 'rate_limiter_error', {
    reason: 'RATE_LIMITER_UNAVAILABLE',
    policy: limits[0]?.policy ?? '',
  });
}

function settle(
  ctx: WaypointContext,
  x: Exchange,
  all: readonly Standing[],
): LocalReply | undefined {
  for (const s of all)
    count(ctx, s.limit, s.over ? (s.limit.dryRun ? 'would-limit' : 'limited') : 'ok');
  const headers = limitHeaders(all);
  const over = all.find((s) => s.over && !s.limit.dryRun);
  if (over) return refused(over, headers);
  if (headers.length > 0) {
    const names = new Set(headers.map(([n]) => n));
    x.responseHeaders.push((h) => [...h.filter(([n]) => !names.has(n)), ...headers]);
  }
  return undefined;
}

export async function limitRate(
  ctx: WaypointContext,
  x: Exchange,
  all: readonly RateLimit[],
): Promise<LocalReply | undefined> {
  const f = accessFacts(x);
  const asked = all.filter((l) => l.matches(f));
  const local = asked.filter((l) => !l.shared);
  const standings = chargeLocal(local, f, ctx.clock.monotonic());
  if (standings.some((s) => s.over && !s.limit.dryRun)) return settle(ctx, x, standings);
  const services = new Map<string, RateLimit[]>();
  for (const l of asked) {
    if (!l.shared) continue;
    const key = JSON.stringify([
      l.shared.cluster.key,
      l.shared.domain,
      l.shared.timeoutMs,
      l.shared.failClosed,
    ]);
    services.set(key, [...(services.get(key) ?? []), l]);
  }
  for (const limits of services.values()) {
    const service = limits[0]?.shared;
    if (!service) continue;
    const told = await askShared(ctx, x, service, limits, f);
    if (x.down.gone.aborted) return reply(503, '', 'DC', 'downstream_remote_disconnect');
    if (typeof told === 'string') {
      const closed = noAnswer(ctx, service, limits, told);
      if (closed) return closed;
    } else standings.push(...told);
  }
  return settle(ctx, x, standings);
}
