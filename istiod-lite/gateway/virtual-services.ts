// Which VirtualService holds for a port of a service (waypoint-l7.md 5.5). Where Istio leaves mixing undefined, this is
// the order: a Gateway API route wins over every VirtualService of its port; of several VirtualServices for the same
// host the oldest holds. Who loses reads it in its status.
import type * as wire from '../../core/proto/index.ts';
import { L7PortProtocol } from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, list, type ServiceFacts, texts } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import { attachedRoutes } from './attach.ts';
import { portProtocol } from './backends.ts';
import type { World } from './binding.ts';
import { rulesOf, type Tell } from './delegates.ts';
import {
  byRuleAge,
  each,
  fullHost,
  hostMatches,
  hostRank,
  isExported,
  unknownFields,
  whole,
} from './hosts.ts';
import type { RuleFacts } from './objects.ts';
import type { RuleNotes } from './route-rules.ts';
import { ByHost, perState } from './tables.ts';
import { destinationOf, httpEntries, type RuleContext } from './virtual-rules.ts';

type Port = ServiceFacts['ports'][number];

/** `gateways` is absent or names the mesh. */
export const forMesh = (v: unknown): boolean => {
  const gateways = texts(field(v, 'gateways'));
  return gateways.length === 0 || gateways.includes('mesh');
};

export const hostsOf = (world: World, v: RuleFacts): string[] =>
  texts(field(v.spec, 'hosts')).map((h) => fullHost(world, h, v.namespace));

const rulesByHost = perState((world) => {
  const out = new ByHost<RuleFacts>();
  for (const v of world.gateways.virtualServices.values())
    for (const h of hostsOf(world, v)) out.add(h, v);
  return out;
});

/** All that speak for a service, the one that holds first: exact hosts before wildcards, then the oldest. */
export function virtualServicesFor(world: World, s: ServiceFacts, client: string): RuleFacts[] {
  const hostname = serviceHostname(s, world.settings);
  const rank = (v: RuleFacts): number =>
    Math.max(...hostsOf(world, v).map((h) => (hostMatches(h, hostname) ? hostRank(h) : -1)), -1);
  return rulesByHost(world)
    .of(hostname)
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
  tell: Tell = () => {},
): Draft<wire.L7RouteTable> | undefined {
  const http = rulesOf(world, v, tell);
  if (list(field(v.spec, 'http')).length === 0) return undefined;
  const rules: Draft<wire.L7RouteRule>[] = [];
  const entries: Draft<wire.L7RouteEntry>[] = [];
  for (const o of http) {
    for (const { match, rule } of httpEntries({ world, v: o.owner, port, client, tell }, o)) {
      entries.push({ match, rule: rules.push(rule) - 1 });
    }
  }
  return { rules, entries };
}

type Opaque = Pick<Draft<wire.L7PortConfig>, 'tcp' | 'tls'>;

/** What else a match of an opaque connection says: left out, it would match more than its author meant. */
function opaqueMatches(c: RuleContext, kind: 'tcp' | 'tls', rule: unknown): readonly unknown[] {
  const known = kind === 'tcp' ? ['port', 'gateways'] : ['port', 'gateways', 'sniHosts'];
  return each(rule, 'match').filter((m) => {
    const [odd] = unknownFields(m, known);
    if (odd !== undefined) {
      const text = `${kind} match.${odd} is not supported: the match is left out`;
      c.tell(c.v, 'UnsupportedValue', text);
      return false;
    }
    const wanted = whole(field(m, 'port'));
    return forMesh(m) && (wanted === 0 || wanted === c.port.port);
  });
}

function opaqueRoute(c: RuleContext, rule: unknown): Draft<wire.L7TcpRoute> {
  const route = each(rule, 'route');
  const backends = route.map((r) => destinationOf(c, r, route.length === 1));
  return { name: `${c.v.namespace}/${c.v.name}`, backends };
}

/** By server name where there are rules for TLS, else the first tcp rule of this port. */
function opaqueRoutes(
  world: World,
  v: RuleFacts,
  port: Port,
  client: string,
  tell: Tell = () => {},
): Opaque {
  const c: RuleContext = { world, v, port, client, tell };
  const tls = each(v.spec, 'tls').flatMap((rule) => {
    const names = opaqueMatches(c, 'tls', rule).flatMap((m) => texts(field(m, 'sniHosts')));
    if (names.length === 0) return [];
    return [{ ...opaqueRoute(c, rule), hostnames: names.map((n) => n.toLowerCase()) }];
  });
  if (tls.length > 0) return { tls };
  for (const rule of each(v.spec, 'tcp')) {
    const all = each(rule, 'match').length === 0;
    if (all || opaqueMatches(c, 'tcp', rule).length > 0) return { tcp: opaqueRoute(c, rule) };
  }
  return {};
}

/** What the VirtualService that holds adds to a port without Gateway API routes. */
export function virtualPort(
  world: World,
  s: ServiceFacts,
  port: Port,
  client: string,
): Pick<Draft<wire.L7PortConfig>, 'routes'> & Opaque {
  const [v] = virtualServicesFor(world, s, client);
  if (!v) return {};
  if (portProtocol(port) === L7PortProtocol.TCP) {
    return opaqueRoutes(world, v, port, client);
  }
  const routes = virtualTable(world, v, port, client);
  return routes ? { routes } : {};
}

/**
 * Everything of a VirtualService that cannot be carried out, and references that lead nowhere. `root` is the one that
 * speaks for the service: itself, or one that delegates to it.
 */
export function virtualNotes(
  world: World,
  v: RuleFacts,
  s: ServiceFacts,
  client: string,
  root = v,
): RuleNotes {
  const notes: RuleNotes = [];
  const tell: Tell = (owner, reason, message) => {
    if (owner !== v || notes.some((n) => n.message === message)) return;
    notes.push({ reason, message });
  };
  for (const p of s.ports) if (p.protocol === 'TCP') virtualTable(world, root, p, client, tell);
  for (const p of s.ports) if (p.protocol === 'TCP') opaqueRoutes(world, root, p, client, tell);
  return notes;
}
