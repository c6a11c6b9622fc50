// A source of batches → MeshState.apply → listeners of the ChangeSet. One per proxy process; the only
// caller of `apply`. Policies and workloads are prepared for it and cleaned up after it in slices.
import type { Log } from '../base/index.ts';
import {
  type Batch,
  type ChangeSet,
  MeshState,
  type MeshView,
  type Stage,
} from '../model/index.ts';

/** Policy rules cleaned up before other work gets a turn: about 2 ms. */
const rulesPerTurn = 1_000;

export class MeshFeed {
  readonly #state = new MeshState();
  readonly #listeners = new Set<(change: ChangeSet) => void>();
  readonly #log: Log;
  /** Resolves after every type has been accepted once. */
  readonly synced: Promise<void>;
  #markSynced: () => void = () => {};
  #isSynced = false;
  #tidying = false;

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
    this.#tidy();
    return change;
  }

  /** Begins a batch that is prepared ahead; it must then be applied (`Batch.staged`) or discarded. */
  stage(): Stage {
    return this.#state.stage();
  }

  /** Does the slow part of applying a policy or workload beforehand. */
  prepare(stage: Stage, what: Parameters<MeshState['prepare']>[1]): void {
    this.#state.prepare(stage, what);
  }

  discard(stage: Stage): void {
    this.#state.discard(stage);
    this.#tidy();
  }

  #tidy(): void {
    if (this.#tidying) return;
    this.#tidying = true;
    const turn = (): void => {
      this.#tidying = this.#state.tidy(rulesPerTurn);
      if (this.#tidying) setImmediate(turn);
    };
    setImmediate(turn);
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
