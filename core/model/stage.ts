// Policies and workloads filed ahead of the batch that brings them into force. All look at the state of one
// `Stage`: when it becomes `applied` they hold, all in the same instant, however many there are.
import type { NamespacedHost, PolicyKey, WorkloadUid } from './keys.ts';
import type { Policy } from './policy.ts';
import type { Workload } from './workload.ts';

/** A new value and the one it stands in for. */
export interface Filed<T> {
  readonly next: T;
  readonly old: T | undefined;
}

/** Made by `MeshState.stage`, filled by `prepare`, ended by `apply` or `discard`. */
export class Stage {
  state: 'open' | 'applied' | 'dropped' = 'open';
  /** False = nothing is filed: everything waits for `apply`. */
  eager: boolean;
  readonly policies: Filed<Policy>[] = [];
  readonly workloads: Filed<Workload>[] = [];
  /** Put one by one when the batch is applied, after what is filed. */
  latePolicies: Policy[] = [];
  lateWorkloads: Workload[] = [];
  /** What `apply` will report. */
  readonly changed = {
    workloads: new Set<WorkloadUid>(),
    services: new Set<NamespacedHost>(),
    policies: new Set<PolicyKey>(),
    gone: new Set<WorkloadUid>(),
  };

  constructor(eager: boolean) {
    this.eager = eager;
  }
}

/** One place of a `StagedMap` with a stage in between; `undefined` = nothing is there. */
class Slot<V> {
  readonly stage: Stage;
  readonly now: V | undefined;
  readonly next: V | undefined;
  constructor(stage: Stage, now: V | undefined, next: V | undefined) {
    this.stage = stage;
    this.now = now;
    this.next = next;
  }
}

const seen = <V>(at: V | Slot<V> | undefined): V | undefined =>
  at instanceof Slot ? (at.stage.state === 'applied' ? at.next : at.now) : at;

/**
 * A Map whose puts and removals can be made ahead: `stage` leaves what is seen as it is, the stage's end
 * decides, and `settle` forgets the difference. Values are never `undefined`; a key is staged once by a stage,
 * and not put or deleted while the stage is open.
 */
export class StagedMap<K, V> implements ReadonlyMap<K, V> {
  readonly #at = new Map<K, V | Slot<V>>();
  #slots = 0;

  get(key: K): V | undefined {
    return seen(this.#at.get(key));
  }

  has(key: K): boolean {
    return this.get(key) !== undefined;
  }

  /** Counts one by one while anything waits to be settled. */
  get size(): number {
    if (this.#slots === 0) return this.#at.size;
    let n = 0;
    for (const _ of this.values()) n++;
    return n;
  }

  /** Nothing is here, and nothing will be. */
  get blank(): boolean {
    return this.#at.size === 0;
  }

  set(key: K, value: V): this {
    if (this.#slots > 0) this.#settleFor(key);
    this.#at.set(key, value);
    return this;
  }

  delete(key: K): boolean {
    if (this.#slots > 0) this.#settleFor(key);
    return this.#at.delete(key);
  }

  /** `next` undefined = removes what is there. */
  stage(key: K, next: V | undefined, stage: Stage): void {
    const now = this.#settleFor(key);
    if (now === undefined && next === undefined) return;
    this.#at.set(key, new Slot(stage, now, next));
    this.#slots++;
  }

  /** Makes one key what the end of its stage says. */
  settle(key: K): void {
    this.#settleFor(key);
  }

  #settleFor(key: K): V | undefined {
    const at = this.#at.get(key);
    if (!(at instanceof Slot)) return at;
    this.#slots--;
    const value = seen<V>(at);
    if (value === undefined) this.#at.delete(key);
    else this.#at.set(key, value);
    return value;
  }

  // Between batches nothing is staged, and the map itself is as good and faster.
  entries(): MapIterator<[K, V]> {
    return this.#slots === 0 ? (this.#at.entries() as MapIterator<[K, V]>) : this.#seenEntries();
  }

  keys(): MapIterator<K> {
    return this.#slots === 0 ? this.#at.keys() : this.#seenKeys();
  }

  values(): MapIterator<V> {
    return this.#slots === 0 ? (this.#at.values() as MapIterator<V>) : this.#seenValues();
  }

  *#seenEntries(): MapIterator<[K, V]> {
    for (const [key, at] of this.#at) {
      const value = seen<V>(at);
      if (value !== undefined) yield [key, value];
    }
  }

  *#seenKeys(): MapIterator<K> {
    for (const [key] of this.#seenEntries()) yield key;
  }

  *#seenValues(): MapIterator<V> {
    for (const at of this.#at.values()) {
      const value = seen<V>(at);
      if (value !== undefined) yield value;
    }
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  forEach(visit: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }
}
