// Gateway of class istio → the one resource its pods get: listeners with their certificates, and the routes attached to
// them by host name.
import { L7ListenerProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { byAge } from './attach.ts';
import type { World } from './binding.ts';
import { generatedName, isManual } from './deploy-plan.ts';
import { backendsOf, clustersOf } from './destinations.ts';
import {
  type AttachedRoute,
  attachedTo,
  bindPort,
  isServed,
  type Listener,
  listenersOf,
} from './listeners.ts';
import { gatewayController, specOfController } from './names.ts';
import type { GatewayFacts, SecretFacts } from './objects.ts';
import { routeTable } from './route-rules.ts';
import { meshRetries } from './retries.ts';
import { securityFor } from './security.ts';
import type { NamedConfig } from './service-config.ts';
import { tcpRoute } from './tcp-routes.ts';

const protocols: Readonly<Record<string, number>> = {
  HTTP: L7ListenerProtocol.LISTEN_HTTP,
  HTTPS: L7ListenerProtocol.LISTEN_HTTPS,
  TCP: L7ListenerProtocol.LISTEN_TCP,
  TLS: L7ListenerProtocol.LISTEN_TLS,
};

function hostRoutes(world: World, all: readonly AttachedRoute[]): Draft<wire.L7HostRoutes>[] {
  const names = new Set(all.flatMap((a) => a.hosts));
  return [...names].toSorted().map((hostname) => {
    const routes = all.filter((a) => a.hosts.includes(hostname)).map((a) => a.route);
    return { hostname, routes: routeTable(world, routes.toSorted(byAge)) };
  });
}

const pairOf = ({ certificates, privateKey }: SecretFacts): Draft<wire.L7KeyPair> => ({
  certificates,
  privateKey,
});

function listener(
  world: World,
  { facts: l, secrets: [first, ...more] }: Listener,
  all: readonly AttachedRoute[],
): Draft<wire.L7Listener> {
  const opaque = l.protocol === 'TCP' || l.protocol === 'TLS';
  const sorted = all.toSorted((a, b) => byAge(a.route, b.route));
  return {
    name: l.name,
    port: l.port,
    bindPort: bindPort(l.port),
    protocol: protocols[l.protocol] ?? 0,
    hostname: l.hostname,
    ...(first && pairOf(first)),
    ...(more.length > 0 && { moreCertificates: more.map(pairOf) }),
    ...(opaque
      ? {
          connections: sorted.map(({ route, hosts }) => ({
            ...tcpRoute(world, route),
            hostnames: hosts.filter((h) => h !== ''),
          })),
        }
      : { hosts: hostRoutes(world, all) }),
  };
}

function ingressConfig(world: World, g: GatewayFacts): NamedConfig | undefined {
  const spec = specOfController(gatewayController);
  if (!spec) return undefined;
  const key = `${g.namespace}/${g.name}`;
  const hostname = `${generatedName(g, spec)}.${g.namespace}.svc.${world.settings.clusterDomain}`;
  const granted = { ...world, grantsNeeded: true };
  const routes = attachedTo(world, g);
  const listeners = listenersOf(world, g)
    .filter(isServed)
    .map((l) => listener(granted, l, routes.get(l.facts.name) ?? []));
  const backends = [
    ...backendsOf(listeners.flatMap((l) => (l.hosts ?? []).map((h) => h.routes))),
    ...listeners.flatMap((l) => (l.connections ?? []).flatMap((c) => c.backends ?? [])),
  ];
  return {
    name: `${g.namespace}/${hostname}`,
    gateway: key,
    config: {
      namespace: g.namespace,
      hostname,
      gateway: key,
      listeners,
      clusters: clustersOf(world, backends, g.namespace),
      ...securityFor(world, undefined, key),
      ...meshRetries(world),
    },
  };
}

/** Everything any ingress gateway is to be told. */
export function ingressConfigs(world: World): NamedConfig[] {
  return [...world.gateways.gateways.values()]
    .filter((g) => world.gateways.controllerOf(g) === gatewayController)
    .filter((g) => !isManual(g) && !g.deleting)
    .map((g) => ingressConfig(world, g))
    .filter((c) => c !== undefined);
}
