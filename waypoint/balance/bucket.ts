// Token buckets (waypoint-l7.md 10): full at first, filled evenly, one token a request. Pure; a bucket that nobody has
// touched for as long as it takes to fill is a full one, and needs no memory.

export interface BucketPlan {
  /** Tokens that come in `perMs`. */
  readonly tokens: number;
  readonly perMs: number;
  /** Most that it holds. */
  readonly burst: number;
}

export interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}

export const fullBucket = (p: BucketPlan, nowMs: number): Bucket => ({
  tokens: p.burst,
  atMs: nowMs,
});

/** What is in it now; a clock that goes back adds nothing. */
export function filled(p: BucketPlan, b: Bucket, nowMs: number): Bucket {
  const gained = (Math.max(0, nowMs - b.atMs) * p.tokens) / p.perMs;
  return { tokens: Math.min(p.burst, b.tokens + gained), atMs: nowMs };
}

export const hasToken = (b: Bucket): boolean => b.tokens >= 1 - 1e-9;

export const takeToken = (b: Bucket): Bucket => ({ ...b, tokens: Math.max(0, b.tokens - 1) });

/** Milliseconds until there is a token. */
export const untilToken = (p: BucketPlan, b: Bucket): number =>
  hasToken(b) ? 0 : Math.ceil(((1 - b.tokens) * p.perMs) / p.tokens);

/** Buckets of one limit by key, bounded: when no more fit, all further keys share one. */
export class Buckets {
  readonly #plan: BucketPlan;
  readonly #max: number;
  readonly #byKey = new Map<string, Bucket>();

  constructor(plan: BucketPlan, max: number) {
    this.#plan = plan;
    this.#max = max;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** The bucket as it is now, and how to write what became of it. */
  look(key: string, nowMs: number): { readonly bucket: Bucket; readonly put: (b: Bucket) => void } {
    const found = this.#byKey.get(key);
    const home = found || this.#room(nowMs) ? key : overflowKey;
    const old = this.#byKey.get(home) ?? fullBucket(this.#plan, nowMs);
    return {
      bucket: filled(this.#plan, old, nowMs),
      put: (b) => {
        // Last used last: the first ones are the likeliest to be full.
        this.#byKey.delete(home);
        this.#byKey.set(home, b);
      },
    };
  }

  /** Lets go of buckets that have filled up; looks at a few each time. */
  #room(nowMs: number): boolean {
    let looked = 0;
    for (const [key, b] of this.#byKey) {
      if (looked++ >= 4) break;
      if (filled(this.#plan, b, nowMs).tokens >= this.#plan.burst) this.#byKey.delete(key);
    }
    return this.#byKey.size < this.#max;
  }
}

/** No value of a request is this: keys of requests begin with a digit. */
const overflowKey = '';
