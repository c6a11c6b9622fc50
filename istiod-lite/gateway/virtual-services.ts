// Which VirtualService holds for a port of a service (waypoint-l7.md 5.5). Where Istio leaves mixing undefined, this is
// the order: a Gateway API route wins over every VirtualService of its port; of several VirtualServices for the same
// host the oldest holds. Who loses reads it in its status.
import type * as wire from '../../core/proto/index.ts';
import { L7PortProtocol } from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, list, type ServiceFacts, text, texts } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import { attachedRoutes } from './attach.ts';
import { portProtocol } from './backends.ts';
import type { World } from './binding.ts';
import { byRuleAge, each, fullHost, hostMatches, hostRank, isExported, whole } from './hosts.ts';
import type { RuleFacts } from './objects.ts';
import type { RuleNotes } from './route-rules.ts';
import { destinationOf, httpEntries } from './virtual-rules.ts';

type Port = ServiceFacts['ports'][number];

/** `gateways` is absent or names the mesh. */
export const forMesh = (v: unknown): boolean => {
  const gateways = texts(field(v, 'gateways'));
  return gateways.length === 0 || gateways.includes('mesh');
};

export const hostsOf = (world: World, v: RuleFacts): string[] =>
  texts(field(v.spec, 'hosts')).map((h) => fullHost(world, h, v.namespace));

/** All that speak for a service, the one that holds first: exact hosts before wildcards, then the oldest. */
export function virtualServicesFor(world: World, s: ServiceFacts, client: string): RuleFacts[] {
  const hostname = serviceHostname(s, world.settings);
  const rank = (v: RuleFacts): number =>
    Math.max(...hostsOf(world, v).map((h) => (hostMatches(h, hostname) ? hostRank(h) : -1)), -1);
  return [...world.gateways.virtualServices.values()]
    .filter((v) => v.namespace === s.namespace || v.namespace === client)
    .filter((v) => forMesh(v.spec) && isExported(v, client) && rank(v) >= 0)
    .toSorted((a, b) => rank(b) - rank(a) || byRuleAge(a, b));
}

/** What stands before a VirtualService at every port of a service; `undefined` = it holds somewhere. */
export function shadowOf(
  world: World,
  s: ServiceFacts,
  v: RuleFacts,
  client: string,
): string | undefined {
  const [first] = virtualServicesFor(world, s, client);
  if (first !== v) return first && `VirtualService ${first.namespace}/${first.name}`;
  const holds = s.ports.some((p) => p.protocol === 'TCP' && !hasRoute(world, s, p));
  if (holds) return undefined;
  const route = s.ports
    .map((p) => attachedRoutes(world, s, p))
    .find((a) => a !== undefined && a.producers.length > 0);
  const [r] = route?.producers ?? [];
  return r && `${r.kind} ${r.namespace}/${r.name}`;
}

const hasRoute = (world: World, s: ServiceFacts, p: Port): boolean =>
  (attachedRoutes(world, s, p)?.producers.length ?? 0) > 0;

export function virtualTable(
  world: World,
  v: RuleFacts,
  port: Port,
  client: string,
  notes: RuleNotes = [],
): Draft<wire.L7RouteTable> | undefined {
  const http = list(field(v.spec, 'http'));
  if (http.length === 0) return undefined;
  const rules: Draft<wire.L7RouteRule>[] = [];
  const entries: Draft<wire.L7RouteEntry>[] = [];
  for (const [index, h] of http.entries()) {
    for (const { match, rule } of httpEntries({ world, v, port, client, notes }, h, index)) {
      entries.push({ match, rule: rules.push(rule) - 1 });
    }
  }
  return { rules, entries };
}

function tcpTable(
  world: World,
  v: RuleFacts,
  port: Port,
  client: string,
): Draft<wire.L7TcpRoute> | undefined {
  for (const t of list(field(v.spec, 'tcp'))) {
    const matches = each(t, 'match');
    const hit = matches.some((m) => {
      const wanted = whole(field(m, 'port'));
      return forMesh(m) && (wanted === 0 || wanted === port.port);
    });
    if (matches.length > 0 && !hit) continue;
    const context = { world, v, port, client, notes: [] };
    const route = each(t, 'route');
    const backends = route.map((r) => destinationOf(context, r, route.length === 1));
    return { name: `${v.namespace}/${v.name}`, backends };
  }
  return undefined;
}

/** What the VirtualService that holds adds to a port without Gateway API routes. */
export function virtualPort(
  world: World,
  s: ServiceFacts,
  port: Port,
  client: string,
): Pick<Draft<wire.L7PortConfig>, 'routes' | 'tcp'> {
  const [v] = virtualServicesFor(world, s, client);
  if (!v) return {};
  if (portProtocol(port) === L7PortProtocol.TCP) {
    const tcp = tcpTable(world, v, port, client);
    return tcp ? { tcp } : {};
  }
  const routes = virtualTable(world, v, port, client);
  return routes ? { routes } : {};
}

/** Everything of a VirtualService that cannot be carried out, and references that lead nowhere. */
export function virtualNotes(
  world: World,
  v: RuleFacts,
  s: ServiceFacts,
  client: string,
): RuleNotes {
  const notes: RuleNotes = [];
  for (const p of s.ports) if (p.protocol === 'TCP') virtualTable(world, v, p, client, notes);
  if (list(field(v.spec, 'tls')).length > 0) notes.push(unsupported('tls'));
  return notes;
}

export const unsupported = (what: string): { reason: string; message: string } => ({
  reason: 'UnsupportedValue',
  message: `${text(what)} is not supported`,
});
