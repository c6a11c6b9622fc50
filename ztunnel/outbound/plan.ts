// Where a captured connection goes (ztunnel-protocol.md 3.3): pure, one consistent mesh, one value out.
// Steps A–E carry the names of the reference's decision tree.
import {
  type FaultCode,
  type IpPort,
  isLoopback,
  printIpPort,
  type Random,
} from '../../core/base/index.ts';
import {
  findGateway,
  type GatewayAddress,
  type MeshView,
  parseSpiffeId,
  pickAddress,
  pickEndpoint,
  type Service,
  serviceKey,
  type SpiffeId,
  type Workload,
  type WorkloadUid,
  waypointOf,
  workloadSpiffeId,
} from '../../core/model/index.ts';
import { isOwnPort, ports } from '../ports.ts';

export type OutboundPlan =
  | { readonly do: 'refuse'; readonly code: FaultCode; readonly detail: string }
  /** Plain TCP: not ours, or a workload without a tunnel. */
  | {
      readonly do: 'pass';
      readonly dial: IpPort;
      readonly destination: Workload | undefined;
      readonly service: Service | undefined;
      /** Nothing the mesh knows: REGISTRY_ONLY would refuse it. */
      readonly unregistered?: true;
    }
  | {
      readonly do: 'tunnel';
      readonly dial: IpPort;
      readonly expect: readonly SpiffeId[];
      readonly authority: string;
      readonly via: 'workload' | 'waypoint';
      readonly destination: Workload;
      readonly service: Service | undefined;
    }
  /** Another network, through its gateway; not carried yet (2.9). */
  | {
      readonly do: 'double';
      readonly dial: IpPort;
      readonly authority: string;
      readonly destination: Workload;
      readonly service: Service;
    }
  /** The endpoint is known by name only: resolve it, then dial `host:port`. */
  | {
      readonly do: 'resolve';
      readonly host: string;
      readonly port: number;
      readonly destination: Workload;
      readonly service: Service | undefined;
    };

/**
 * What becomes of traffic to addresses that nothing in the mesh claims: passed on, passed on and told of, or
 * refused. The names are meshConfig.outboundTrafficPolicy's; Istio's own ztunnel has no such choice
 * (waypoint-l7.md, "Default deny").
 */
export const egressModes = ['ALLOW_ANY', 'LOG_ONLY', 'REGISTRY_ONLY'] as const;
export type EgressMode = (typeof egressModes)[number];

export interface OutboundContext {
  /** The proxy's configured network (step A). */
  readonly network: string;
  readonly random: Random;
  /** Endpoints that just failed to connect; left out of the choice. */
  readonly except?: ReadonlySet<WorkloadUid>;
  /** Default ALLOW_ANY. */
  readonly egress?: EgressMode;
}

const refuse = (code: FaultCode, detail: string): OutboundPlan => ({ do: 'refuse', code, detail });

export function planOutbound(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  context: OutboundContext,
): OutboundPlan {
  if (isLoopback(to.ip) && isOwnPort(to.port)) {
    return refuse('RECURSIVE_CALL', `attempted recursive call to ourselves: ${printIpPort(to)}`);
  }
  const found = mesh.findAddress(context.network, to.ip, from.namespace);
  const addressed = found?.kind === 'service' ? found.service : undefined;
  const gateway = addressed && waypointOf(addressed, context.random);
  if (addressed && gateway) return viaServiceWaypoint(mesh, from, to, addressed, gateway, context);
  return upstream(mesh, from, to, addressed, context);
}

interface Waypoint {
  readonly workload: Workload;
  readonly port: number;
  readonly service: Service | undefined;
}

/** Step 3.4: a gateway reference to one of its pods and the port there. */
function resolveGateway(
  mesh: MeshView,
  from: Workload,
  gateway: GatewayAddress,
  context: OutboundContext,
): Waypoint | undefined {
  const port = gateway.hboneMtlsPort;
  const found = findGateway(mesh, gateway);
  if (!found) return undefined;
  if (found.kind === 'workload') return { workload: found.workload, port, service: undefined };
  const picked = pickEndpoint(mesh, found.service, port, from, context.random, pick(context, true));
  return picked && { workload: picked.workload, port: picked.targetPort, service: found.service };
}

const pick = (context: OutboundContext, waypoint: boolean) => ({
  waypoint,
  ...(context.except && { except: context.except }),
});

/** Step A. */
function viaServiceWaypoint(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  service: Service,
  gateway: GatewayAddress,
  context: OutboundContext,
): OutboundPlan {
  const waypoint = resolveGateway(mesh, from, gateway, context);
  if (!waypoint) return refuse('UNKNOWN_WAYPOINT', `unknown waypoint: ${gatewayName(gateway)}`);
  if (waypoint.workload.network !== from.network) {
    return throughGateway(mesh, from, to, service, waypoint.workload, context);
  }
  return toWaypoint(to, waypoint, gateway, service);
}

function toWaypoint(
  to: IpPort,
  waypoint: Waypoint,
  gateway: GatewayAddress,
  service: Service | undefined,
): OutboundPlan {
  const wanted = gateway.kind === 'address' ? gateway.ip : to.ip;
  const ip = pickAddress(waypoint.workload, waypoint.service, wanted);
  if (!ip) return refuse('NO_ROUTABLE_ADDRESS', noRoute(waypoint.workload));
  return {
    do: 'tunnel',
    dial: { ip, port: waypoint.port },
    expect: expected(waypoint.service, waypoint.workload),
    authority: printIpPort(to),
    via: 'waypoint',
    destination: waypoint.workload,
    service,
  };
}

/** Service SANs that are SPIFFE ids, and the workload's own identity (2.1). */
function expected(service: Service | undefined, workload: Workload): SpiffeId[] {
  const names = (service?.subjectAltNames ?? []).map(parseSpiffeId);
  const all = new Set([...names.filter((id) => id !== undefined), workloadSpiffeId(workload)]);
  return [...all];
}

/** Steps B–E. `addressed` is the service of step A, whose visibility rules also hold here. */
function upstream(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  addressed: Service | undefined,
  context: OutboundContext,
): OutboundPlan {
  const service = mesh.serviceByVip(from.network, to.ip, from.namespace);
  if (service && service.loadBalancing?.mode !== 'Passthrough') {
    const picked = pickEndpoint(mesh, service, to.port, from, context.random, pick(context, false));
    if (picked) return direct(mesh, from, to, service, picked.workload, picked.targetPort, context);
    return refuse('NO_HEALTHY_UPSTREAM', `no healthy upstream: ${printIpPort(to)}`);
  }
  const workload = service ? undefined : mesh.workloadByAddress(from.network, to.ip);
  if (workload) return toWorkload(mesh, from, to, workload, addressed, context);
  if (addressed && addressed.loadBalancing?.mode !== 'Passthrough') {
    return refuse('NO_HEALTHY_UPSTREAM', `no healthy upstream: ${printIpPort(to)}`);
  }
  // A PASSTHROUGH service claims the address.
  if (service || addressed) return { do: 'pass', dial: to, destination: undefined, service };
  return toOutside(to, context.egress ?? 'ALLOW_ANY');
}

/** Nothing the mesh knows. */
function toOutside(to: IpPort, mode: EgressMode): OutboundPlan {
  if (mode === 'REGISTRY_ONLY')
    return refuse('EGRESS_NOT_REGISTERED', `nothing in the mesh has address ${to.ip}`);
  return { do: 'pass', dial: to, destination: undefined, service: undefined, unregistered: true };
}

/** Step D, then E. */
function toWorkload(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  workload: Workload,
  addressed: Service | undefined,
  context: OutboundContext,
): OutboundPlan {
  const gateway = workload.waypoint;
  if (!addressed && gateway && !isThatWaypoint(mesh, from, gateway)) {
    const waypoint = resolveGateway(mesh, from, gateway, context);
    if (!waypoint) return refuse('UNKNOWN_WAYPOINT', `unknown waypoint: ${gatewayName(gateway)}`);
    return toWaypoint(to, waypoint, gateway, undefined);
  }
  return direct(mesh, from, to, addressed, workload, to.port, context);
}

/** Whether the caller is itself one of the pods behind the reference. */
function isThatWaypoint(mesh: MeshView, from: Workload, gateway: GatewayAddress): boolean {
  const found = findGateway(mesh, gateway);
  if (found?.kind === 'workload') return found.workload.uid === from.uid;
  return found !== undefined && mesh.endpoints(serviceKey(found.service)).has(from.uid);
}

/** Steps C and E: the chosen workload, by tunnel, in clear, or through its network's gateway. */
function direct(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  service: Service | undefined,
  workload: Workload,
  port: number,
  context: OutboundContext,
): OutboundPlan {
  if (workload.network !== from.network) {
    if (!service) return refuse('NO_ROUTABLE_ADDRESS', noRoute(workload));
    return throughGateway(mesh, from, to, service, workload, context);
  }
  const ip = pickAddress(workload, service, to.ip);
  if (!ip) {
    if (workload.hostname === '') return refuse('NO_ROUTABLE_ADDRESS', noRoute(workload));
    return { do: 'resolve', host: workload.hostname, port, destination: workload, service };
  }
  if (mesh.isContested(workload.network, ip))
    return refuse('ADDRESS_CONTESTED', `several ready pods claim ${ip}`);
  if (workload.protocol !== 'HBONE') {
    return { do: 'pass', dial: { ip, port }, destination: workload, service };
  }
  return {
    do: 'tunnel',
    dial: { ip, port: ports.hbone },
    expect: expected(service, workload),
    authority: printIpPort({ ip, port }),
    via: 'workload',
    destination: workload,
    service,
  };
}

/** Step C (2.9): the gateway of the other network, with the service's own name as authority. */
function throughGateway(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  service: Service,
  workload: Workload,
  context: OutboundContext,
): OutboundPlan {
  const reference = workload.networkGateway;
  if (!reference) return refuse('NO_ROUTABLE_ADDRESS', noRoute(workload));
  const gateway = networkGateway(mesh, from, to, reference, context);
  if (!gateway) {
    const detail = `unknown network gateway: ${gatewayName(reference)}`;
    return refuse('NO_ROUTABLE_ADDRESS', detail);
  }
  const authority = `${service.hostname}:${to.port}`;
  return { do: 'double', dial: gateway.dial, authority, destination: gateway.workload, service };
}

function networkGateway(
  mesh: MeshView,
  from: Workload,
  to: IpPort,
  reference: GatewayAddress,
  context: OutboundContext,
): { workload: Workload; dial: IpPort } | undefined {
  const resolved = resolveGateway(mesh, from, reference, context);
  if (!resolved) return undefined;
  const wanted = reference.kind === 'address' ? reference.ip : to.ip;
  const ip = pickAddress(resolved.workload, resolved.service, wanted);
  return ip && { workload: resolved.workload, dial: { ip, port: resolved.port } };
}

const noRoute = (w: Workload): string => `no valid routing destination for workload: ${w.uid}`;

function gatewayName(g: GatewayAddress): string {
  const name = g.kind === 'host' ? `${g.namespace}/${g.hostname}` : `${g.network}/${g.ip}`;
  return `${name}:${g.hboneMtlsPort}`;
}
