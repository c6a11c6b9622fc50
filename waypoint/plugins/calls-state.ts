// The calls that one plugin process has not answered yet, and when it has had its time. A process does one thing after
// another: the time of a call begins when the one before it is answered, so that a burst is no overrun; but no call
// waits longer than `patience` times that.

export const patience = 10;
/** Calls that wait for one process; more are not made. */
export const maxInFlight = 1_000;

export class CallsState<T> {
  readonly #timeoutMs: number;
  readonly #open = new Map<number, { readonly sentMs: number; readonly value: T }>();
  #next = 1;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#open.size;
  }

  /** The number of the call; `undefined` = too many wait. */
  sent(nowMs: number, value: T): number | undefined {
    if (this.#open.size >= maxInFlight) return undefined;
    const id = this.#next++;
    this.#open.set(id, { sentMs: nowMs, value });
    return id;
  }

  /** `undefined` = nobody asked that. */
  answered(nowMs: number, id: number): T | undefined {
    const call = this.#open.get(id);
    if (!call) return undefined;
    this.#open.delete(id);
    this.#lastMs = nowMs;
    return call.value;
  }

  /** When the process will have overrun; `undefined` = nothing is waited for. */
  dueMs(): number | undefined {
    const [first] = this.#open.values();
    if (!first) return undefined;
    return Math.min(
      Math.max(first.sentMs, this.#lastMs) + this.#timeoutMs,
      first.sentMs + patience * this.#timeoutMs,
    );
  }

  /** Everything that waits, and nothing waits any more. */
  drop(): T[] {
    const all = [...this.#open.values()].map((c) => c.value);
    this.#open.clear();
    return all;
  }
}
