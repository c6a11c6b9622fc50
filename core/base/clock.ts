// Time as an argument (style practice 14). `FakeClock` is the tests' one; the real one is in core/runtime.

/** A pending timer; `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since the epoch: for certificate validity and records. */
  now(): number;
  /** Monotonic milliseconds: for every interval, so that a clock jump starts no storm (F11). */
  monotonic(): number;
  /** Runs `work` once after `ms`. Real timers do not keep the process alive. */
  after(ms: number, work: () => void): Timer;
}

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly work: () => void;
}

/** Time that moves only when told. Both clocks move together unless `jump` is used. */
export class FakeClock implements Clock {
  #wall: number;
  #mono = 0;
  #order = 0;
  readonly #pending = new Set<Pending>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#wall = startMs;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#mono;
  }

  after(ms: number, work: () => void): Timer {
    const entry: Pending = { at: this.#mono + Math.max(0, ms), order: this.#order++, work };
    this.#pending.add(entry);
    return { cancel: () => void this.#pending.delete(entry) };
  }

  /** Moves both clocks forward, running what falls due in order. */
  advance(ms: number): void {
    const end = this.#mono + ms;
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#pending.delete(next);
      this.#wall += next.at - this.#mono;
      this.#mono = next.at;
      next.work();
    }
    this.#wall += end - this.#mono;
    this.#mono = end;
  }

  /** Moves the wall clock alone, as an operator or NTP would. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  /** How many timers wait; tests assert on leaks with it. */
  get waiting(): number {
    return this.#pending.size;
  }

  #next(end: number): Pending | undefined {
    let best: Pending | undefined;
    for (const p of this.#pending) {
      if (p.at > end) continue;
      if (!best || p.at < best.at || (p.at === best.at && p.order < best.order)) best = p;
    }
    return best;
  }
}
