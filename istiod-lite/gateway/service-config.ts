// Bound service → the one resource its waypoint gets (sandbox.md D15).
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { ServiceFacts } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import { attachedRoutes } from './attach.ts';
import { portProtocol, readBackend } from './backends.ts';
import { bindService, type World } from './binding.ts';
import type { GatewayFacts, RouteFacts } from './objects.ts';
import { clusterFor, type Destination } from './destination-rules.ts';
import { routeTable } from './route-rules.ts';
import { securityFor } from './security.ts';
import { virtualPort } from './virtual-services.ts';
import { field, list } from '../cluster/index.ts';

export interface NamedConfig {
  /** `namespace/hostname`. */
  readonly name: string;
  /** `namespace/name` of the Gateway whose pods may see it. */
  readonly gateway: string;
  readonly config: Draft<wire.L7ServiceConfig>;
}

function tcpRoute(world: World, routes: readonly RouteFacts[]): Draft<wire.L7TcpRoute> | undefined {
  const [first] = routes;
  if (!first) return undefined;
  const backends = list(field(first.rules[0], 'backendRefs')).map((b) =>
    readBackend(world, first, b, []),
  );
  return { name: `${first.namespace}/${first.name}`, backends };
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
    const tcp = tcpRoute(world, attached.producers);
    return tcp ? { ...base, tcp } : { ...base, ...virtualPort(world, s, p, client) };
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

/** Everything that the service and its routes lead to, where a DestinationRule says how. */
function clusters(
  world: World,
  own: { readonly namespace: string; readonly hostname: string },
  ports: readonly Draft<wire.L7PortConfig>[],
  client: string,
): Draft<wire.L7Cluster>[] {
  const seen = new Map<string, Destination>();
  const add = (d: Draft<wire.L7RouteBackend>): void => {
    if (d.invalid || d.noCluster) return;
    const { namespace = '', hostname = '', port = 0, subset = '' } = d;
    seen.set(`${namespace}/${hostname}|${port}|${subset}`, { namespace, hostname, port, subset });
  };
  for (const p of ports) {
    add({ ...own, port: p.port ?? 0 });
    for (const b of p.tcp?.backends ?? []) add(b);
    for (const table of [p.routes, ...Object.values(p.consumerRoutes ?? {})]) {
      for (const r of table?.rules ?? []) {
        for (const b of r.backends ?? []) add(b);
        for (const m of r.filters?.mirrors ?? []) if (m.backend) add(m.backend);
      }
    }
  }
  return [...seen.values()].map((d) => clusterFor(world, d, client)).filter((c) => c !== undefined);
}

export function serviceConfig(world: World, s: ServiceFacts, gateway: GatewayFacts): NamedConfig {
  const hostname = serviceHostname(s, world.settings);
  const key = `${gateway.namespace}/${gateway.name}`;
  const ports = s.ports
    .filter((p) => p.protocol === 'TCP')
    .map((p) => portConfig(world, s, p, gateway.namespace));
  const own = { namespace: s.namespace, hostname };
  const xfcc = gateway.annotations.get('ambient.istio.io/xfcc-include-client-identity');
  return {
    name: `${s.namespace}/${hostname}`,
    gateway: key,
    config: {
      namespace: s.namespace,
      hostname,
      gateway: key,
      ports,
      clusters: clusters(world, own, ports, gateway.namespace),
      ...securityFor(world, s, key),
      // On by default, unlike Istio's: the application may know who called (issue 5.5).
      forwardClientCert: xfcc?.toLowerCase() !== 'false',
    },
  };
}

/** Everything any waypoint is to be told, in a stable order. */
export function serviceConfigs(world: World): NamedConfig[] {
  const out: NamedConfig[] = [];
  for (const s of world.cluster.services.all()) {
    if (s.type === 'ExternalName') continue;
    const binding = bindService(world, s);
    if (binding.kind === 'none' || !binding.gateway) continue;
    out.push(serviceConfig(world, s, binding.gateway));
  }
  return out.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
