// The two channels to the control plane: addresses and our services' configuration over delta xDS,
// certificates over the CA service. Roots and token are files, read anew for every channel and call.
import { type CaClient, grpcCaClient } from '../certs/index.ts';
import type { Clock, Log, Random } from '../core/base/index.ts';
import { openControlPlane } from '../core/rpc/index.ts';
import { MeshFeed, serviceConfigType, xdsNode, XdsSource } from '../core/xds/index.ts';
import type { WaypointConfig } from './config.ts';
import { ServiceConfigs } from './l7/config-state.ts';

export interface Wire {
  readonly feed: MeshFeed;
  readonly services: ServiceConfigs;
  readonly ca: CaClient;
  stop(): void;
}

export function connectWire(
  config: WaypointConfig,
  deps: { readonly clock: Clock; readonly random: Random; readonly log: Log },
): Wire {
  const feed = new MeshFeed(deps.log.child('xds'));
  const services = new ServiceConfigs();
  const who = { tokenFile: config.authToken, clusterId: config.clusterId };
  const xds = new XdsSource({
    open: () =>
      openControlPlane({
        ...who,
        address: config.xdsAddress,
        roots: config.xdsRootCa,
        serverName: config.xdsServerName,
      }),
    node: xdsNode({
      kind: 'waypoint',
      ...config,
      more: { SERVICE_ACCOUNT: config.serviceAccount },
    }),
    feed,
    clock: deps.clock,
    random: deps.random,
    log: deps.log.child('xds'),
    extra: {
      typeUrl: serviceConfigType,
      apply: (resources, removed) => services.apply(resources, removed),
    },
  });
  const ca = grpcCaClient({
    open: () =>
      openControlPlane({
        ...who,
        address: config.caAddress,
        roots: config.caRootCa,
        serverName: config.caServerName,
      }),
    impersonate: false,
  });
  xds.start();
  return { feed, services, ca, stop: () => xds.stop() };
}
