// Which namespaces the mesh looks at: a filter before the cluster's state, that delivers what a namespace holds when its
// labels let it in, and takes it out again. It keeps references to objects that their watches hold anyway.
import { type KubeObject, type LabelRequirement, matchesLabels } from '../../core/kube/index.ts';

export type DiscoveryEvent<K> = readonly [
  kind: K,
  type: 'ADDED' | 'MODIFIED' | 'DELETED',
  object: KubeObject,
];

interface Seen<K> {
  selected: boolean;
  readonly objects: Map<string, readonly [K, KubeObject]>;
}

export class Discovery<K extends string> {
  readonly #selector: readonly LabelRequirement[];
  readonly #always: string;
  readonly #namespaces = new Map<string, Seen<K>>();

  /** No requirement = every namespace. `always` is looked at whatever its labels: the control plane's own. */
  constructor(selector: readonly LabelRequirement[], always: string) {
    this.#selector = selector;
    this.#always = always;
  }

  isSelected(namespace: string): boolean {
    return this.#selector.length === 0 || this.#namespaces.get(namespace)?.selected === true;
  }

  /** What an event means to the mesh: itself, nothing, or for a namespace also everything in it. */
  pass(event: DiscoveryEvent<K>): DiscoveryEvent<K>[] {
    const [kind, type, o] = event;
    if (this.#selector.length === 0) return [event];
    if (kind === 'Namespace') return [event, ...this.#moved(o, type === 'DELETED')];
    const { namespace } = o.metadata;
    if (namespace === undefined) return [event];
    const seen = this.#seen(namespace);
    const key = `${kind}/${o.metadata.name}`;
    if (type === 'DELETED') seen.objects.delete(key);
    else seen.objects.set(key, [kind, o]);
    return seen.selected ? [event] : [];
  }

  #seen(namespace: string): Seen<K> {
    const known = this.#namespaces.get(namespace);
    if (known) return known;
    const made: Seen<K> = { selected: namespace === this.#always, objects: new Map() };
    this.#namespaces.set(namespace, made);
    return made;
  }

  #moved(namespace: KubeObject, gone: boolean): DiscoveryEvent<K>[] {
    const { name, labels } = namespace.metadata;
    const seen = this.#seen(name);
    const before = seen.selected;
    seen.selected = name === this.#always || (!gone && matchesLabels(this.#selector, labels));
    if (gone && seen.objects.size === 0) this.#namespaces.delete(name);
    if (before === seen.selected) return [];
    const type = seen.selected ? 'ADDED' : 'DELETED';
    return [...seen.objects.values()].map(([kind, o]) => [kind, type, o] as const);
  }
}
