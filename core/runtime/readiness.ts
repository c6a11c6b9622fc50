// Named things to wait for before a component says it is ready.

export class Readiness {
  readonly #pending = new Set<string>();
  readonly #waiters = new Set<() => void>();

  constructor(names: readonly string[]) {
    for (const n of names) this.#pending.add(n);
  }

  done(name: string): void {
    this.#pending.delete(name);
    if (this.#pending.size > 0) return;
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  /** Takes a promise back: readiness is lost until `done` again. */
  undo(name: string): void {
    this.#pending.add(name);
  }

  get pending(): readonly string[] {
    return [...this.#pending].toSorted();
  }

  get ready(): boolean {
    return this.#pending.size === 0;
  }

  whenReady(): Promise<void> {
    if (this.ready) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add(resolve));
  }
}
