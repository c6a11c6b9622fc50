// Bound service → the one resource its waypoint gets (sandbox.md D15).
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { ServiceFacts } from '../cluster/index.ts';
import { isWildcardPort, serviceHostname } from '../translate/index.ts';
import { attachedRoutes } from './attach.ts';
import { portProtocol } from './backends.ts';
import { bindService, trafficOf, type World } from './binding.ts';
import { canaryOf } from './canary.ts';
import { backendsOf, clustersOf } from './destinations.ts';
import { entryServices } from './entry-services.ts';
import { ingressConfigs } from './ingress-config.ts';
import { meshController } from './names.ts';
import type { GatewayFacts } from './objects.ts';
import { meshRetries } from './retries.ts';
import { routeTable } from './route-rules.ts';
import { securityFor } from './security.ts';
import { virtualPort } from './virtual-services.ts';
import { tcpRoute, tlsRoute } from './tcp-routes.ts';

export interface NamedConfig {
  /** `namespace/hostname`. */
  readonly name: string;
  /** `namespace/name` of the Gateway whose pods may see it. */
  readonly gateway: string;
  readonly config: Draft<wire.L7ServiceConfig>;
}

function portConfig(
  world: World,
  s: ServiceFacts,
  p: ServiceFacts['ports'][number],
  client: string,
): Draft<wire.L7PortConfig> {
  const base = { port: p.port, protocol: portProtocol(p) };
  const attached = attachedRoutes(world, s, p);
  if (!attached) return { ...base, ...virtualPort(world, s, p, client) };
  if (attached.kind === 'TCPRoute' || attached.kind === 'TLSRoute') {
    const [first] = attached.producers;
    if (!first) return { ...base, ...virtualPort(world, s, p, client) };
    return attached.kind === 'TCPRoute'
      ? { ...base, tcp: tcpRoute(world, first) }
      : { ...base, tls: attached.producers.map((r) => tlsRoute(world, r)) };
  }
  const consumerRoutes = Object.fromEntries(
    [...attached.consumers].map(([ns, routes]) => [ns, routeTable(world, routes)]),
  ) as Draft<wire.L7PortConfig>['consumerRoutes'];
  return {
    ...base,
    ...(attached.producers.length > 0
      ? { routes: routeTable(world, attached.producers) }
      : virtualPort(world, s, p, client)),
    ...(consumerRoutes && { consumerRoutes }),
  };
}

const entryPort = (p: ServiceFacts['ports'][number]) => ({ protocol: p.appProtocol.toUpperCase() });

/** Everything that the service and its routes lead to. */
function destinations(
  own: { readonly namespace: string; readonly hostname: string },
  ports: readonly Draft<wire.L7PortConfig>[],
): Draft<wire.L7RouteBackend>[] {
  return ports.flatMap((p) => [
    { ...own, port: p.port ?? 0 },
    ...(p.tcp?.backends ?? []),
    ...(p.tls ?? []).flatMap((t) => t.backends ?? []),
    ...backendsOf([p.routes, ...Object.values(p.consumerRoutes ?? {})]),
  ]);
}

export function serviceConfig(world: World, s: ServiceFacts, gateway: GatewayFacts): NamedConfig {
  const hostname = serviceHostname(s, world.settings);
  const key = `${gateway.namespace}/${gateway.name}`;
  const isWild = hostname.startsWith('*.');
  const ports = s.ports
    .filter(
      (p) => p.protocol === 'TCP' && (!isWild || isWildcardPort(entryPort(p), world.settings)),
    )
    .map((p) => portConfig(world, s, p, gateway.namespace));
  const own = { namespace: s.namespace, hostname };
  return {
    name: `${s.namespace}/${hostname}`,
    gateway: key,
    config: {
      namespace: s.namespace,
      hostname,
      gateway: key,
      ports,
      clusters: clustersOf(world, destinations(own, ports), gateway.namespace),
      ...securityFor(world, s, key),
      ...meshRetries(world),
      forwardClientCert: tellsCaller(gateway),
    },
  };
}

/** What holds for calls to addresses of pods: no routes, the gateway's own policies (waypoint-l7.md 1.4, 3). */
function workloadsConfig(world: World, g: GatewayFacts): NamedConfig | undefined {
  const traffic = trafficOf(world.gateways, g);
  const mine = world.gateways.controllerOf(g) === meshController && !g.deleting;
  if (!mine || (traffic !== 'workload' && traffic !== 'all')) return undefined;
  const key = `${g.namespace}/${g.name}`;
  const hostname = serviceHostname(g, world.settings);
  return {
    name: `${g.namespace}/${hostname}`,
    gateway: key,
    config: {
      namespace: g.namespace,
      hostname,
      gateway: key,
      workloads: true,
      ...securityFor(world, undefined, key),
      ...meshRetries(world),
      forwardClientCert: tellsCaller(g),
    },
  };
}

/** On by default, unlike Istio's: the application may know who called (issue 5.5). */
const tellsCaller = (g: GatewayFacts): boolean =>
  g.annotations.get('ambient.istio.io/xfcc-include-client-identity')?.toLowerCase() !== 'false';

/** Everything any waypoint is to be told, in a stable order. */
export function serviceConfigs(world: World): NamedConfig[] {
  const out: NamedConfig[] = [];
  const entries = [...world.cluster.serviceEntries.all()].flatMap((e) => [
    ...entryServices(e).values(),
  ]);
  for (const s of [...world.cluster.services.all(), ...entries]) {
    if (s.type === 'ExternalName') continue;
    const binding = bindService(world, s);
    if (binding.kind === 'none' || !binding.gateway) continue;
    out.push(serviceConfig(world, s, binding.gateway));
    const canary = canaryOf(world, s, binding)?.gateway;
    if (canary) {
      const made = serviceConfig(world, s, canary);
      out.push({ ...made, name: `${made.name}#canary` });
    }
  }
  for (const g of world.gateways.gateways.values()) {
    const made = workloadsConfig(world, g);
    if (made) out.push(made);
  }
  out.push(...ingressConfigs(world));
  return out.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
