// What policies of Gateway API are for: Services and ServiceEntries of their own namespace, whole or one port of them
// (waypoint-l7.md 5.1, 11). Of several for the same target the oldest holds.
import { field, list, type Meta, text } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import type { World } from './binding.ts';
import { byRuleAge } from './hosts.ts';
import { perState } from './tables.ts';

export interface PolicyTarget {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  /** Name of a port; empty = all of them. */
  readonly section: string;
}

/** A policy with targets. */
export interface Targeted extends Meta {
  readonly targets: readonly PolicyTarget[];
}

export const readPolicyTargets = (spec: unknown): PolicyTarget[] =>
  list(field(spec, 'targetRefs')).map((t) => ({
    group: text(field(t, 'group')),
    kind: text(field(t, 'kind')),
    name: text(field(t, 'name')),
    section: text(field(t, 'sectionName')),
  }));

const isService = (t: PolicyTarget): boolean =>
  (t.group === '' || t.group === 'core') && t.kind === 'Service';
const isEntry = (t: PolicyTarget): boolean =>
  t.group === 'networking.istio.io' && t.kind === 'ServiceEntry';

/** Places to send to that a target stands for; `undefined` = there is no such object or port. */
export function placesOf(
  world: World,
  namespace: string,
  t: PolicyTarget,
): { readonly hostnames: readonly string[]; readonly ports: readonly number[] } | undefined {
  const { cluster, settings } = world;
  const fits = (name: string): boolean => t.section === '' || t.section === name;
  if (isService(t)) {
    const s = cluster.services.get(namespace, t.name);
    const ports = (s?.ports ?? []).filter((p) => fits(p.name)).map((p) => p.port);
    if (!s || (t.section !== '' && ports.length === 0)) return undefined;
    return { hostnames: [serviceHostname(s, settings)], ports };
  }
  const e = isEntry(t) ? cluster.serviceEntries.get(namespace, t.name) : undefined;
  const ports = (e?.ports ?? []).filter((p) => fits(p.name)).map((p) => p.number);
  if (!e || (t.section !== '' && ports.length === 0)) return undefined;
  return { hostnames: e.hosts, ports };
}

interface Lookup<P> {
  /** The policy that stands before this one for the same target, if there is one. */
  older(world: World, p: P, t: PolicyTarget): P | undefined;
  /** A policy for the port before one for the whole, then the oldest. */
  at(
    world: World,
    d: { readonly namespace: string; readonly hostname: string; readonly port: number },
  ): P | undefined;
}

/** Policies of a kind by what they are for. */
export function policies<P extends Targeted>(of: (world: World) => Iterable<P>): Lookup<P> {
  const targetKey = (p: P, t: PolicyTarget): string =>
    `${p.namespace}/${isService(t) ? 'Service' : isEntry(t) ? 'ServiceEntry' : ''}/${t.name}/${t.section}`;
  const made = perState((world) => {
    const first = new Map<string, P>();
    const places = new Map<string, { readonly p: P; readonly exact: boolean }>();
    for (const p of [...of(world)].toSorted(byRuleAge)) {
      for (const t of p.targets) {
        if (!first.has(targetKey(p, t))) first.set(targetKey(p, t), p);
        const { hostnames = [], ports = [] } = placesOf(world, p.namespace, t) ?? {};
        const exact = t.section !== '';
        for (const key of hostnames.flatMap((h) => ports.map((n) => `${p.namespace}/${h}|${n}`))) {
          const known = places.get(key);
          if (!known || (exact && !known.exact)) places.set(key, { p, exact });
        }
      }
    }
    return { first, places };
  });
  return {
    older(world, p, t) {
      const first = made(world).first.get(targetKey(p, t));
      const known = isService(t) || isEntry(t);
      return known && first && first !== p && byRuleAge(first, p) < 0 ? first : undefined;
    },
    at: (world, d) => made(world).places.get(`${d.namespace}/${d.hostname}|${d.port}`)?.p,
  };
}
