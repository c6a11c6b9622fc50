// Follows ConfigMaps that other objects name, each by a watch of its own: the others of a cluster are nobody's business
// here.
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import type { ObjectKey } from '../cluster/index.ts';

/** A name that objects can have (a DNS subdomain). One that is none is refused by the API server whenever it is asked for. */
const isName = (name: string): boolean =>
  name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name);

export class NamedConfigMaps<T> {
  readonly #kube: KubeClient;
  readonly #read: (o: KubeObject) => T;
  readonly #table: Map<ObjectKey, T | undefined>;
  readonly #changed: () => void;
  readonly #stops = new Map<ObjectKey, () => void>();

  constructor(o: {
    kube: KubeClient;
    read: (o: KubeObject) => T;
    /** Written here: `undefined` in it = there is none. A key that is missing = not known yet. */
    table: Map<ObjectKey, T | undefined>;
    changed: () => void;
  }) {
    this.#kube = o.kube;
    this.#read = o.read;
    this.#table = o.table;
    this.#changed = o.changed;
  }

  /** Watches these, and nothing else. `true` = all of them are known. */
  settle(names: Iterable<ObjectKey | undefined>): boolean {
    const wanted = new Set([...names].filter((key) => key !== undefined));
    for (const [key, stop] of this.#stops) {
      if (wanted.has(key)) continue;
      stop();
      this.#stops.delete(key);
      this.#table.delete(key);
    }
    for (const key of wanted) if (!this.#stops.has(key)) this.#stops.set(key, this.#follow(key));
    return [...wanted].every((key) => this.#table.has(key));
  }

  #follow(key: ObjectKey): () => void {
    const cut = key.indexOf('/');
    const [namespace, name] = [key.slice(0, cut), key.slice(cut + 1)];
    if (!isName(name)) {
      this.#table.set(key, undefined);
      return () => {};
    }
    return this.#kube.watch(
      resources.configMaps,
      {
        event: (type, o) => {
          this.#table.set(key, type === 'DELETED' ? undefined : this.#read(o));
          this.#changed();
        },
        synced: () => {
          if (this.#table.has(key)) return;
          this.#table.set(key, undefined);
          this.#changed();
        },
      },
      { fieldSelector: `metadata.name=${name}`, namespace },
    );
  }

  stop(): void {
    for (const stop of this.#stops.values()) stop();
    this.#stops.clear();
  }
}
