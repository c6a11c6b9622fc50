// Tables over all objects at once, so that none of them is looked through for each of the others: with ten thousand services
// and as many rules that would be the cost of every change.
import type { ServiceFacts } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import type { World } from './binding.ts';
import { entryServices } from './entry-services.ts';
import { hostMatches } from './hosts.ts';

type State = Pick<World, 'cluster' | 'gateways' | 'settings'>;

/** Made when it is asked for, and again once an object has come, changed or gone. */
export function perState<T>(make: (world: World) => T): (world: World) => T {
  const known = new WeakMap<World['gateways'], State & { at: string; value: T }>();
  return (world) => {
    const { cluster, gateways, settings } = world;
    const at = `${gateways.changes} ${cluster.changes}`;
    const last = known.get(gateways);
    if (last?.at === at && last.cluster === cluster && last.settings === settings)
      return last.value;
    const value = make(world);
    known.set(gateways, { cluster, gateways, settings, at, value });
    return value;
  };
}

/** Things by the hosts or patterns (`*.example.com`, `*`) they are for. */
export class ByHost<T> {
  readonly #all = new Map<string, Set<T>>();
  readonly #patterns = new Set<string>();

  add(pattern: string, item: T): this {
    const same = this.#all.get(pattern) ?? new Set<T>();
    this.#all.set(pattern, same.add(item));
    if (pattern.startsWith('*')) this.#patterns.add(pattern);
    return this;
  }

  /** Of that very host or pattern. */
  same(pattern: string): T[] {
    return [...(this.#all.get(pattern) ?? [])];
  }

  /** All that are for a host. */
  of(hostname: string): T[] {
    const out = new Set(this.#all.get(hostname));
    for (const p of this.#patterns) {
      if (hostMatches(p, hostname)) for (const item of this.#all.get(p) ?? []) out.add(item);
    }
    return [...out];
  }

  /** All whose host a pattern takes. */
  within(pattern: string): T[] {
    if (!pattern.startsWith('*')) return this.same(pattern);
    const hosts = [...this.#all].filter(([host]) => hostMatches(pattern, host));
    return hosts.flatMap(([, items]) => [...items]);
  }
}

/** Services, and hosts of ServiceEntries that a waypoint can serve. */
export const servicesByHost = perState((world) => {
  const out = new ByHost<ServiceFacts>();
  for (const s of world.cluster.services.all()) out.add(serviceHostname(s, world.settings), s);
  for (const e of world.cluster.serviceEntries.all()) {
    for (const s of entryServices(e).values()) out.add(serviceHostname(s, world.settings), s);
  }
  return out;
});
