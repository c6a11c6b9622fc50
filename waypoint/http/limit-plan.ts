// Whether a request is within its limits, and what it is told about them (waypoint-l7.md 10). Pure but for the counts.
import { hasToken, takeToken, untilToken } from '../balance/bucket.ts';
import type { AccessFacts } from '../l7/access.ts';
import { keyOf, type RateLimit } from '../l7/rate-limits.ts';
import type { HeaderList } from './exchange.ts';

export interface Standing {
  readonly limit: RateLimit;
  readonly over: boolean;
  readonly remaining: number;
  /** Seconds until there is room again, or until the count is as it was. */
  readonly resetSeconds: number;
}

/**
 * Charges every limit, or none where one that is enforced is used up; those in dry run are charged for themselves.
 */
export function chargeLocal(
  limits: readonly RateLimit[],
  f: AccessFacts,
  nowMs: number,
): Standing[] {
  const looked = limits.map((limit) => {
    const slot = limit.buckets.look(keyOf(limit.entries(f)), nowMs);
    return { limit, slot, over: !hasToken(slot.bucket) };
  });
  const refused = looked.some((l) => l.over && !l.limit.dryRun);
  return looked.map(({ limit, slot, over }) => {
    const take = !over && (limit.dryRun || !refused);
    const after = take ? takeToken(slot.bucket) : slot.bucket;
    slot.put(after);
    const missing = limit.plan.burst - after.tokens;
    const waitMs = over
      ? untilToken(limit.plan, after)
      : (missing * limit.plan.perMs) / limit.plan.tokens;
    return {
      limit,
      over,
      remaining: Math.floor(after.tokens + 1e-9),
      resetSeconds: Math.ceil(waitMs / 1000),
    };
  });
}

/** The tightest limit, in the reference proxy's words and in those of the IETF draft (RateLimit, RateLimit-Policy). */
export function limitHeaders(all: readonly Standing[]): HeaderList {
  const [first, ...rest] = all.filter((s) => !s.limit.dryRun);
  if (!first) return [];
  const tightest = rest.reduce(
    (a, b) => ((Number(b.over) - Number(a.over) || a.remaining - b.remaining) > 0 ? b : a),
    first,
  );
  const { limit, remaining, resetSeconds } = tightest;
  const window = Math.max(1, Math.round(limit.plan.perMs / 1000));
  const name = limit.name.replaceAll(/[^A-Za-z0-9_-]/g, '_');
  const quota = limit.plan.tokens;
  return [
    ['x-ratelimit-limit', `${quota}, ${quota};w=${window};name="${name}"`],
    ['x-ratelimit-remaining', String(remaining)],
    ['x-ratelimit-reset', String(resetSeconds)],
    ['ratelimit-policy', `"${name}";q=${quota};w=${window}`],
    ['ratelimit', `"${name}";r=${remaining};t=${resetSeconds}`],
  ];
}
