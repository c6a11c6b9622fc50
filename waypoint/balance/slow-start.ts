// Slow start (waypoint-l7.md 5.2): an endpoint that comes gets a growing part of its weight, until its window is over.
// Pure but for its memory; time is an argument.
import type { Host } from './balancers.ts';

export interface WarmupRules {
  readonly durationMs: number;
  /** The part of its weight an endpoint begins with, 0 to 1. */
  readonly least: number;
  /** 1 = linear; above 1 the part grows faster at first. */
  readonly aggression: number;
}

/** The part of its weight that an endpoint has after so long; 1 = its window is over. */
export function warmth(r: WarmupRules, elapsedMs: number): number {
  if (elapsedMs >= r.durationMs) return 1;
  const elapsed = Math.max(elapsedMs, 1_000) / r.durationMs;
  return Math.min(1, Math.max(r.least, elapsed ** (1 / r.aggression)));
}

/** Since when each endpoint is ready. Those that were there from the start grow together, which changes no shares. */
export class SlowStart {
  #since = new Map<string, number>();
  #lastMs = Number.NEGATIVE_INFINITY;

  /** Told of every change: an endpoint that was unready or gone begins anew. */
  ready(names: readonly string[], nowMs: number): void {
    const before = this.#since;
    this.#since = new Map(
      names.map((name) => {
        const known = before.get(name);
        if (known === undefined) this.#lastMs = nowMs;
        return [name, known ?? nowMs];
      }),
    );
  }

  /** The same hosts with the weights they have now. */
  weighted<T extends Host>(hosts: readonly T[], r: WarmupRules, nowMs: number): readonly T[] {
    if (nowMs - this.#lastMs >= r.durationMs) return hosts;
    return hosts.map((h) => {
      const elapsed = nowMs - (this.#since.get(h.name) ?? Number.NEGATIVE_INFINITY);
      return { ...h, weight: h.weight * warmth(r, elapsed) };
    });
  }
}
