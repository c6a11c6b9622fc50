// What policies of Gateway API are for: Services and ServiceEntries of their own namespace, whole or one port of them
// (waypoint-l7.md 5.1, 11). Of several for the same target the oldest holds.
import { field, list, type Meta, text } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import type { World } from './binding.ts';
import { byRuleAge } from './hosts.ts';

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

const sameObject = (a: PolicyTarget, b: PolicyTarget): boolean =>
  a.name === b.name && ((isService(a) && isService(b)) || (isEntry(a) && isEntry(b)));

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

/** The policy that stands before this one for the same target, if there is one. */
export const olderPolicy = <P extends Targeted>(
  all: Iterable<P>,
  p: P,
  t: PolicyTarget,
): P | undefined =>
  [...all]
    .filter((o) => o !== p && o.namespace === p.namespace && byRuleAge(o, p) < 0)
    .filter((o) => o.targets.some((x) => x.section === t.section && sameObject(x, t)))
    .toSorted(byRuleAge)[0];

/** A policy for the port before one for the whole, then the oldest. */
export function policyFor<P extends Targeted>(
  world: World,
  all: Iterable<P>,
  d: { readonly namespace: string; readonly hostname: string; readonly port: number },
): P | undefined {
  let best: { readonly p: P; readonly exact: boolean } | undefined;
  for (const p of [...all].filter((o) => o.namespace === d.namespace).toSorted(byRuleAge)) {
    for (const t of p.targets) {
      const places = placesOf(world, p.namespace, t);
      if (!places?.hostnames.includes(d.hostname) || !places.ports.includes(d.port)) continue;
      const exact = t.section !== '';
      if (!best || (exact && !best.exact)) best = { p, exact };
    }
  }
  return best?.p;
}
