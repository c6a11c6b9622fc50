// A source of batches → MeshState.apply → listeners of the ChangeSet. One per proxy process; the only
// caller of `apply`.
import type { Log } from '../base/index.ts';
import { type Batch, type ChangeSet, MeshState, type MeshView } from '../model/index.ts';

export class MeshFeed {
  readonly #state = new MeshState();
  readonly #listeners = new Set<(change: ChangeSet) => void>();
  readonly #log: Log;
  /** Resolves after every type has been accepted once. */
  readonly synced: Promise<void>;
  #markSynced: () => void = () => {};
  #isSynced = false;

  constructor(log: Log) {
    this.#log = log;
    this.synced = new Promise((resolve) => {
      this.#markSynced = resolve;
    });
  }

  get view(): MeshView {
    return this.#state.view;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Runs in one tick, listeners included; a listener that throws is logged and skipped. */
  apply(batch: Batch): ChangeSet {
    const change = this.#state.apply(batch);
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#log.error('a listener of mesh changes failed', { error });
      }
    }
    return change;
  }

  onChange(listener: (change: ChangeSet) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  markSynced(): void {
    this.#isSynced = true;
    this.#markSynced();
  }
}
