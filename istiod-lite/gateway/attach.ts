// Which routes hold for which port of a service (waypoint-l7.md 3.9): by parentRef, producer or consumer,
// one kind per port, oldest first.
import type { ServiceFacts } from '../cluster/index.ts';
import type { World } from './binding.ts';
import type { ParentRef, RouteFacts, RouteKind } from './objects.ts';
import { perState } from './tables.ts';

/** One type of route wins per port. */
const strength: readonly RouteKind[] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

export const isServiceParent = (p: ParentRef): boolean =>
  (p.group === '' || p.group === 'core') && p.kind === 'Service';

export const isEntryParent = (p: ParentRef): boolean =>
  p.group === 'networking.istio.io' && p.kind === 'ServiceEntry';

function aimsAt(route: RouteFacts, s: ServiceFacts, port: ServiceFacts['ports'][number]): boolean {
  return route.parents.some(
    (p) =>
      (s.host === undefined ? isServiceParent(p) : isEntryParent(p)) &&
      p.name === s.name &&
      (p.namespace || route.namespace) === s.namespace &&
      (p.port === 0 || p.port === port.port) &&
      (p.sectionName === '' || p.sectionName === port.name),
  );
}

/** A route by connection holds in its own namespace alone: callers of a connection are not told apart. */
export const isForeign = (r: RouteFacts, s: ServiceFacts): boolean =>
  (r.kind === 'TCPRoute' || r.kind === 'TLSRoute') && r.namespace !== s.namespace;

/** Oldest first, then by name. */
export const byAge = (a: RouteFacts, b: RouteFacts): number => {
  if (a.created !== b.created) return a.created - b.created;
  return `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1;
};

export interface Attached {
  readonly kind: RouteKind;
  /** Of the service's own namespace. */
  readonly producers: readonly RouteFacts[];
  /** Of other namespaces, for callers there. */
  readonly consumers: ReadonlyMap<string, readonly RouteFacts[]>;
}

/** By `namespace/name` of whatever they name as their parent. */
const routesByParent = perState((world) => {
  const out = new Map<string, Set<RouteFacts>>();
  for (const r of world.gateways.routes.values()) {
    for (const p of r.parents) {
      const key = `${p.namespace || r.namespace}/${p.name}`;
      out.set(key, (out.get(key) ?? new Set()).add(r));
    }
  }
  return out;
});

export function attachedRoutes(
  world: World,
  s: ServiceFacts,
  port: ServiceFacts['ports'][number],
): Attached | undefined {
  const near = routesByParent(world).get(`${s.namespace}/${s.name}`) ?? [];
  const all = [...near].filter((r) => aimsAt(r, s, port) && !isForeign(r, s));
  const kind = strength.find((k) => all.some((r) => r.kind === k));
  if (!kind) return undefined;
  const routes = all.filter((r) => r.kind === kind).toSorted(byAge);
  const consumers = new Map<string, RouteFacts[]>();
  for (const r of routes) {
    if (r.namespace === s.namespace) continue;
    consumers.set(r.namespace, [...(consumers.get(r.namespace) ?? []), r]);
  }
  return { kind, producers: routes.filter((r) => r.namespace === s.namespace), consumers };
}
