// Circuit breakers of one cluster (waypoint-l7.md 5.3): counters against limits, 0 = no limit. Per replica.

export interface BreakerRules {
  readonly maxConnections: number;
  readonly maxPending: number;
  readonly maxRequests: number;
  readonly maxRetries: number;
  /** Replaces maxRetries. `share` is in hundredths of a percent of what runs. */
  readonly budget: { readonly share: number; readonly minConcurrency: number } | undefined;
}

const counters = ['connections', 'pending', 'requests', 'retries'] as const;
export type Counter = (typeof counters)[number];

export class Breaker {
  readonly #now: Record<Counter, number> = { connections: 0, pending: 0, requests: 0, retries: 0 };
  overflows = 0;

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
        const running = this.#now.requests + this.#now.pending;
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
