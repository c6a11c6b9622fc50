// Endpoint choice: candidates, locality rank, weight, target port, address (ztunnel-protocol.md 3.5–3.7).
import { type IpAddress, isIpv6, type Random, weightedPick } from '../base/index.ts';
import type { MeshView } from './mesh-state.ts';
import type { BalanceScope, Service } from './service.ts';
import { type Endpoint, serviceKey } from './service-store.ts';
import type { Workload } from './workload.ts';

export interface Picked {
  readonly workload: Workload;
  readonly targetPort: number;
}

function matches(scope: BalanceScope, from: Workload, to: Workload): boolean {
  switch (scope) {
    case 'Region':
      return from.locality.region === to.locality.region;
    case 'Zone':
      return from.locality.zone === to.locality.zone;
    case 'Subzone':
      return from.locality.subzone === to.locality.subzone;
    case 'Node':
      return from.node === to.node;
    case 'Cluster':
      return from.clusterId === to.clusterId;
    case 'Network':
      return from.network === to.network;
  }
}

/**
 * Consecutive preferences matched from the left. A leading Network counts N − 1 extra when matched and
 * is skipped when not, so that any near endpoint outranks every remote one.
 */
export function localityRank(
  preferences: readonly BalanceScope[],
  from: Workload,
  to: Workload,
): number {
  let rank = 0;
  for (const [i, scope] of preferences.entries()) {
    if (matches(scope, from, to)) {
      rank += i === 0 && scope === 'Network' ? preferences.length : 1;
    } else if (!(i === 0 && scope === 'Network')) {
      break;
    }
  }
  return rank;
}

/** Endpoint's own mapping, else the service's, else the port itself for an application tunnel. */
export function targetPort(
  service: Service,
  servicePort: number,
  endpoint: Pick<Endpoint, 'ports'>,
  workload: Pick<Workload, 'applicationTunnel'>,
): number | undefined {
  const mapped = endpoint.ports.get(servicePort);
  if (mapped !== undefined && mapped > 0) return mapped;
  const port = service.ports.find((p) => p.servicePort === servicePort);
  if (port && port.targetPort > 0) return port.targetPort;
  return workload.applicationTunnel && workload.applicationTunnel.port > 0
    ? servicePort
    : undefined;
}

export interface PickOptions {
  /** The service is a waypoint: an application tunnel stands in for a listed port (3.5.3). */
  readonly waypoint?: boolean;
  /** Workloads to leave out: the ones that just failed to connect. */
  readonly except?: ReadonlySet<string>;
}

export interface Listed extends Picked {
  /** Ready, or the service takes any. */
  readonly healthy: boolean;
}

/** Everything behind a port that could be reached, ready or not. */
export function serviceEndpoints(
  view: MeshView,
  service: Service,
  servicePort: number,
  from: Workload,
  options: PickOptions = {},
): Listed[] {
  const listed = service.ports.some((p) => p.servicePort === servicePort);
  if (!listed && !options.waypoint) return [];
  const all = service.loadBalancing?.healthPolicy === 'AllowAll';
  const found: Listed[] = [];
  for (const endpoint of view.endpoints(serviceKey(service)).values()) {
    if (options.except?.has(endpoint.workload)) continue;
    const workload = view.workload(endpoint.workload);
    if (!workload) continue;
    const remote = workload.network !== from.network && workload.networkGateway !== undefined;
    if (workload.addresses.length === 0 && workload.hostname === '' && !remote) continue;
    if (!listed && !workload.applicationTunnel) continue;
    // Only a waypoint's application tunnel stands in for a mapping.
    const port = targetPort(service, servicePort, endpoint, options.waypoint ? workload : {});
    if (port === undefined) continue;
    found.push({ workload, targetPort: port, healthy: endpoint.healthy || all });
  }
  return found;
}

/** One endpoint of a service, or `undefined` if none is fit. */
export function pickEndpoint(
  view: MeshView,
  service: Service,
  servicePort: number,
  from: Workload,
  random: Random,
  options: PickOptions = {},
): Picked | undefined {
  let fit: Picked[] = serviceEndpoints(view, service, servicePort, from, options).filter(
    (p) => p.healthy,
  );
  const balancing = service.loadBalancing;
  if (balancing && balancing.mode !== 'Standard' && balancing.mode !== 'Passthrough') {
    const rank = (p: Picked): number => localityRank(balancing.preferences, from, p.workload);
    if (balancing.mode === 'Strict') {
      fit = fit.filter((p) => balancing.preferences.every((s) => matches(s, from, p.workload)));
    } else {
      const top = fit.reduce((most, p) => Math.max(most, rank(p)), 0);
      fit = fit.filter((p) => rank(p) === top);
    }
  }
  return weightedPick(fit, (p) => p.workload.capacity, random);
}

/** The workload address to dial for a call that asked for `wanted` (3.7); `undefined` = only by name or gateway. */
export function pickAddress(
  workload: Workload,
  service: Service | undefined,
  wanted: IpAddress,
): IpAddress | undefined {
  if (workload.addresses.includes(wanted)) return wanted;
  const allowed = workload.addresses.filter((ip) => {
    if (service?.ipFamilies === 'IPv4') return !isIpv6(ip);
    if (service?.ipFamilies === 'IPv6') return isIpv6(ip);
    return true;
  });
  return allowed.find((ip) => isIpv6(ip) === isIpv6(wanted)) ?? allowed[0];
}
