// Where counts are kept: in this process, or in a store that several servers share.
import type { Clock } from '../core/base/index.ts';
import type { Count } from './window-plan.ts';

export interface Store {
  /** Adds, and gives the values after that, in order. Rejects when it cannot. */
  add(counts: readonly Count[]): Promise<number[]>;
  stop(): void;
}

const maxKeys = 200_000;

/** Bounded: counts that are over are let go of, and if that is not enough no new ones are taken. */
export class MemoryStore implements Store {
  readonly #clock: Clock;
  readonly #counts = new Map<string, { value: number; readonly untilMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(counts: readonly Count[]): Promise<number[]> {
    const now = this.#clock.now();
    if (this.#counts.size >= maxKeys) {
      for (const [key, c] of this.#counts) if (c.untilMs <= now) this.#counts.delete(key);
    }
    const out: number[] = [];
    for (const { key, hits, keepMs } of counts) {
      let found = this.#counts.get(key);
      if (!found) {
        if (this.#counts.size >= maxKeys) return Promise.reject(new Error('too many counts'));
        found = { value: 0, untilMs: now + keepMs };
        this.#counts.set(key, found);
      }
      found.value += hits;
      out.push(found.value);
    }
    return Promise.resolve(out);
  }

  stop(): void {
    this.#counts.clear();
  }
}
