// How many certificates one caller may have issued: a token bucket each, so that a node proxy gone wild can
// not keep the CA from the others (checklist F48, 2.7).
import type { Clock } from '../../core/base/index.ts';

export interface RateLimitPlan {
  readonly perSecond: number;
  readonly burst: number;
}

/** Callers remembered at most; the one unused for longest is forgotten, its bucket being full by then. */
const maxCallers = 10_000;

interface Bucket {
  tokens: number;
  at: number;
}

export class RateLimit {
  readonly #plan: RateLimitPlan;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(plan: RateLimitPlan, clock: Clock) {
    this.#plan = plan;
    this.#clock = clock;
  }

  /** Takes one token; false = none left. */
  take(caller: string): boolean {
    const now = this.#clock.monotonic();
    const { perSecond, burst } = this.#plan;
    const old = this.#buckets.get(caller) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, old.tokens + ((now - old.at) / 1000) * perSecond);
    this.#buckets.delete(caller);
    if (this.#buckets.size >= maxCallers) {
      const [first] = this.#buckets.keys();
      if (first !== undefined) this.#buckets.delete(first);
    }
    this.#buckets.set(caller, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now });
    return tokens >= 1;
  }
}
