// From a reference to a waypoint to what stands behind it (ztunnel-protocol.md 3.4, step A1).
import { type Random, weightedPick } from '../base/index.ts';
import type { Found, MeshView } from './mesh-state.ts';
import type { Service } from './service.ts';
import type { GatewayAddress } from './workload.ts';

/** The waypoint of a service: by weight where weights are given. */
export function waypointOf(service: Service, random: Random): GatewayAddress | undefined {
  return (
    weightedPick(service.weightedWaypoints, (w) => w.weight, random)?.destination ??
    service.waypoint
  );
}

export function findGateway(mesh: MeshView, gateway: GatewayAddress): Found | undefined {
  if (gateway.kind === 'host') return mesh.findHostname(gateway.namespace, gateway.hostname);
  const service = mesh.serviceByVip(gateway.network, gateway.ip, undefined);
  if (service) return { kind: 'service', service };
  const workload = mesh.workloadByAddress(gateway.network, gateway.ip);
  return workload && { kind: 'workload', workload };
}
