// Says that a piece of work is wanted no longer. AbortSignal says the same; one for each request, with `any` over
// three of them, was a tenth of what a request costs (weak references, events, finalizers).

/** One-shot: the first `abort` counts. Members are named as AbortSignal's. */
export class Cancellation {
  #reason: Error | undefined;
  #listeners: ((reason: Error) => void)[] | undefined;

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  /** Of the first abort. */
  get reason(): Error | undefined {
    return this.#reason;
  }

  /** Listeners run at once, in their order; each once. */
  abort(reason: Error): void {
    if (this.#reason) return;
    this.#reason = reason;
    const listeners = this.#listeners ?? [];
    this.#listeners = undefined;
    for (const f of listeners) f(reason);
  }

  /** Runs `f` at the abort, at once if it has been. Returns how to be told no longer. */
  onAbort(f: (reason: Error) => void): () => void {
    if (this.#reason) {
      f(this.#reason);
      return () => {};
    }
    const listeners = (this.#listeners ??= []);
    listeners.push(f);
    return () => {
      const at = this.#listeners?.indexOf(f) ?? -1;
      if (at >= 0) this.#listeners?.splice(at, 1);
    };
  }

  /** As `work` settles; rejects with the reason once nobody waits for it any more. The work itself goes on. */
  until<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const leave = this.onAbort(reject);
      work.then(resolve, reject).finally(leave);
    });
  }

  /** Aborted with the first of them; for as long as they live. */
  static any(...of: readonly Cancellation[]): Cancellation {
    const out = new Cancellation();
    for (const c of of) c.onAbort((reason) => out.abort(reason));
    return out;
  }
}
