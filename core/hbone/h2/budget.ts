// What a peer may make us do for nothing (reliability-checklist.md H1, H2, H5–H7): a bucket of tokens.

export class Budget {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #monotonic: () => number;
  #tokens: number;
  #at: number;

  constructor(burst: number, perSecond: number, monotonic: () => number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#monotonic = monotonic;
    this.#tokens = burst;
    this.#at = monotonic();
  }

  /** False = the budget is used up. */
  take(count = 1): boolean {
    const now = this.#monotonic();
    const gained = ((now - this.#at) * this.#perSecond) / 1000;
    this.#at = now;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained) - count;
    return this.#tokens >= 0;
  }
}
