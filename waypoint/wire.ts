// The two channels to the control plane: addresses and our services' configuration over delta xDS,
// certificates over the CA service. Roots and token are files, read anew for every channel and call.
import { readFileSync } from 'node:fs';
import { type CaClient, grpcCaClient } from '../certs/index.ts';
import type { Clock, Log, Random } from '../core/base/index.ts';
import { openChannel, type RpcChannel } from '../core/rpc/index.ts';
import { MeshFeed, serviceConfigType, XdsSource } from '../core/xds/index.ts';
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
  const xds = new XdsSource({
    open: () => channel(config, config.xdsAddress, config.xdsRootCa, config.xdsServerName),
    node: nodeOf(config),
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
    open: () => channel(config, config.caAddress, config.caRootCa, config.caServerName),
    impersonate: false,
  });
  xds.start();
  return { feed, services, ca, stop: () => xds.stop() };
}

function channel(c: WaypointConfig, address: string, roots: string, name: string): RpcChannel {
  return openChannel({
    address,
    roots: () => readFileSync(roots, 'utf8'),
    serverName: name === '' ? undefined : name,
    token: () => readToken(c.authToken),
    headers: { clusterid: c.clusterId },
  });
}

/** A missing token file is the control plane's to refuse, with a clearer text than ours. */
function readToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function nodeOf(c: WaypointConfig): ConstructorParameters<typeof XdsSource>[0]['node'] {
  const ip = c.podIp === '' ? '1.1.1.1' : c.podIp;
  const text = (stringValue: string) => ({ stringValue });
  return {
    id: `waypoint~${ip}~${c.podName}.${c.podNamespace}~${c.podNamespace}.svc.cluster.local`,
    metadata: {
      fields: {
        NAME: text(c.podName),
        NAMESPACE: text(c.podNamespace),
        INSTANCE_IPS: text(ip),
        SERVICE_ACCOUNT: text(c.serviceAccount),
      },
    },
  };
}
