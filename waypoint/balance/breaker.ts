// Circuit breakers of one cluster (waypoint-l7.md 5.3): counters against limits, 0 = no limit. Per replica.

export interface BreakerRules {
  readonly maxConnections: number;
  readonly maxPending: number;
  readonly maxRequests: number;
  readonly maxRetries: number;
  readonly budget: RetryBudget | undefined;
}

/** Replaces maxRetries. */
export interface RetryBudget {
  /** Hundredths of a percent of what runs. */
  readonly share: number;
  readonly minConcurrency: number;
  /** Requests that began so long ago count like those that run; 0 = only those that run. */
  readonly intervalMs: number;
}

const slices = 10;

/** How many in the last while, to a tenth of it: what is remembered does not grow with what is counted. */
class Recent {
  #counts: { slice: number; n: number }[] = [];
  #intervalMs = 0;

  #slice(intervalMs: number, nowMs: number): number {
    if (intervalMs !== this.#intervalMs) this.#counts = [];
    this.#intervalMs = intervalMs;
    const slice = Math.floor((nowMs * slices) / intervalMs);
    while ((this.#counts[0]?.slice ?? slice) <= slice - slices) this.#counts.shift();
    return slice;
  }

  note(intervalMs: number, nowMs: number): void {
    const slice = this.#slice(intervalMs, nowMs);
    const last = this.#counts.at(-1);
    if (last?.slice === slice) last.n++;
    else this.#counts.push({ slice, n: 1 });
  }

  count(intervalMs: number, nowMs: number): number {
    this.#slice(intervalMs, nowMs);
    return this.#counts.reduce((sum, c) => sum + c.n, 0);
  }
}

const counters = ['connections', 'pending', 'requests', 'retries'] as const;
export type Counter = (typeof counters)[number];

export class Breaker {
  readonly #now: Record<Counter, number> = { connections: 0, pending: 0, requests: 0, retries: 0 };
  readonly #recent = new Recent();
  readonly #clock: () => number;
  overflows = 0;

  /** `clock` in milliseconds, never going back. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  count(c: Counter): number {
    return this.#now[c];
  }

  #limit(c: Counter, r: BreakerRules): number {
    switch (c) {
      case 'connections':
        return r.maxConnections;
      case 'pending':
        return r.maxPending;
      case 'requests':
        return r.maxRequests;
      case 'retries': {
        if (!r.budget) return r.maxRetries;
        const { intervalMs } = r.budget;
        const lately = intervalMs > 0 ? this.#recent.count(intervalMs, this.#clock()) : 0;
        const running = Math.max(this.#now.requests + this.#now.pending, lately);
        const share = Math.floor((running * r.budget.share) / 10_000);
        return Math.max(1, r.budget.minConcurrency, share);
      }
    }
  }

  /** Takes one, or says that the limit is reached. The returned function gives it back, once. */
  take(c: Counter, r: BreakerRules): (() => void) | undefined {
    const limit = this.#limit(c, r);
    if (limit > 0 && this.#now[c] >= limit) {
      this.overflows++;
      return undefined;
    }
    const intervalMs = r.budget?.intervalMs ?? 0;
    if (c === 'requests' && intervalMs > 0) this.#recent.note(intervalMs, this.#clock());
    return this.hold(c);
  }

  /** Takes one over any limit: a pool may always have one connection. */
  hold(c: Counter): () => void {
    this.#now[c]++;
    let over = false;
    return () => {
      if (!over) this.#now[c]--;
      over = true;
    };
  }

  snapshot(): Readonly<Record<Counter | 'overflows', number>> {
    return { ...this.#now, overflows: this.overflows };
  }
}
