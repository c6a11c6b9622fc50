// Outlier detection as Envoy does it (waypoint-l7.md 5.4): consecutive failures eject at once, a sweep every
// interval brings back whose time is over. Pure but for its memory; time is an argument.

export interface OutlierRules {
  /** 0 = off, for each of these three. */
  readonly consecutive5xx: number;
  readonly consecutiveGateway: number;
  /** Failures of our own end: connect, reset, timeout. Counted apart only with `split`. */
  readonly consecutiveLocal: number;
  readonly split: boolean;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
}

/** What an attempt came to. `local` = no answer: connect failure, reset, timeout. */
export type Result =
  | { readonly kind: 'answer'; readonly status: number }
  | { readonly kind: 'local' };

export interface Ejection {
  readonly host: string;
  readonly why: '5xx' | 'gateway' | 'local';
  readonly forMs: number;
}

interface Counters {
  fives: number;
  gateway: number;
  local: number;
  /** In a row; one less for every whole interval outside. */
  ejections: number;
  sinceMs: number | undefined;
}

const longestMs = 300_000;

export class OutlierState {
  readonly #hosts = new Map<string, Counters>();
  #sweptMs: number | undefined;

  #of(host: string): Counters {
    let c = this.#hosts.get(host);
    if (!c) {
      c = { fives: 0, gateway: 0, local: 0, ejections: 0, sinceMs: undefined };
      this.#hosts.set(host, c);
    }
    return c;
  }

  /** Hosts that are out; sweeps that have fallen due are made first. */
  ejected(rules: OutlierRules | undefined, nowMs: number): ReadonlySet<string> {
    if (rules) this.#sweep(rules, nowMs);
    const out = new Set<string>();
    if (!rules) return out;
    for (const [host, c] of this.#hosts) if (c.sinceMs !== undefined) out.add(host);
    return out;
  }

  /** `hosts` = how many there are. */
  note(
    host: string,
    result: Result,
    rules: OutlierRules,
    hosts: number,
    nowMs: number,
  ): Ejection | undefined {
    const out = this.ejected(rules, nowMs).size;
    const c = this.#of(host);
    const why = count(c, result, rules);
    if (why === undefined || c.sinceMs !== undefined) return undefined;
    if ((100 * (out + 1)) / Math.max(1, hosts) > rules.maxEjectionPercent) return undefined;
    c.ejections++;
    c.sinceMs = nowMs;
    c.fives = 0;
    c.gateway = 0;
    c.local = 0;
    return { host, why, forMs: ejectionMs(rules, c.ejections) };
  }

  #sweep(rules: OutlierRules, nowMs: number): void {
    this.#sweptMs ??= nowMs;
    const turns = Math.floor((nowMs - this.#sweptMs) / rules.intervalMs);
    if (turns <= 0) return;
    const first = this.#sweptMs + rules.intervalMs;
    this.#sweptMs += turns * rules.intervalMs;
    for (const c of this.#hosts.values()) settle(c, rules, first, this.#sweptMs);
  }

  forget(host: string): void {
    this.#hosts.delete(host);
  }

  /** For the admin port. */
  snapshot(rules: OutlierRules, nowMs: number) {
    this.#sweep(rules, nowMs);
    return [...this.#hosts].map(([host, c]) => ({
      host,
      ejected: c.sinceMs !== undefined,
      ejections: c.ejections,
      consecutive5xx: c.fives,
      consecutiveGateway: c.gateway,
      consecutiveLocal: c.local,
      ...(c.sinceMs !== undefined && {
        backInMs: Math.max(0, Math.round(c.sinceMs + ejectionMs(rules, c.ejections) - nowMs)),
      }),
    }));
  }
}

const ejectionMs = (r: OutlierRules, n: number): number =>
  Math.min(r.baseEjectionMs * n, Math.max(longestMs, r.baseEjectionMs));

/** All sweeps from `first` to `last`, in one step. */
function settle(c: Counters, r: OutlierRules, first: number, last: number): void {
  let outside = Math.round((last - first) / r.intervalMs) + 1;
  if (c.sinceMs !== undefined) {
    const until = c.sinceMs + ejectionMs(r, c.ejections);
    if (last < until) return;
    c.sinceMs = undefined;
    // The sweep that brought it back is not one it stayed outside for.
    outside = Math.floor((last - Math.max(until, first)) / r.intervalMs);
  }
  c.ejections = Math.max(0, c.ejections - outside);
}

/** Counts; which limit it has reached, if any. */
function count(c: Counters, result: Result, r: OutlierRules): Ejection['why'] | undefined {
  const reached = (n: number, limit: number): boolean => limit > 0 && n >= limit;
  if (result.kind === 'local' && r.split) {
    c.local++;
    return reached(c.local, r.consecutiveLocal) ? 'local' : undefined;
  }
  if (r.split) c.local = 0;
  const status = result.kind === 'local' ? 503 : result.status;
  c.fives = status >= 500 ? c.fives + 1 : 0;
  c.gateway = status >= 502 && status <= 504 ? c.gateway + 1 : 0;
  if (reached(c.gateway, r.consecutiveGateway)) return 'gateway';
  return reached(c.fives, r.consecutive5xx) ? '5xx' : undefined;
}
