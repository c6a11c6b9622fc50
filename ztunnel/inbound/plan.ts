// Whether a CONNECT is ours and where it goes (ztunnel-protocol.md 4.2, steps 1–7): pure. The target is
// always the very address the tunnel arrived on; only the port is looked up (design.md 8 "Loopback rule").
import {
  type Authority,
  type FaultCode,
  type IpAddress,
  type IpPort,
  parseAuthority,
} from '../../core/base/index.ts';
import {
  findGateway,
  type MeshView,
  type Service,
  serviceKey,
  targetPort,
  type Workload,
} from '../../core/model/index.ts';
import { isOwnPort } from '../ports.ts';

export interface InboundRequest {
  readonly method: string;
  readonly authority: string;
  /** Host of the Forwarded header: a label, nothing more. */
  readonly forwardedHost: string | undefined;
  /** The address the tunnel arrived on. */
  readonly localIp: IpAddress;
}

export type InboundPlan =
  | { readonly do: 'refuse'; readonly code: FaultCode; readonly detail: string }
  | {
      readonly do: 'admit';
      readonly dial: IpPort;
      /** For labels: the service that was meant. */
      readonly service: Service | undefined;
      /** Set = the app wants a PROXY v2 header with this destination. */
      readonly proxyTarget: IpPort | undefined;
    };

const refuse = (code: FaultCode, detail: string): InboundPlan => ({ do: 'refuse', code, detail });

export function planInbound(
  mesh: MeshView,
  local: Workload,
  request: InboundRequest,
  network: string,
): InboundPlan {
  if (request.method !== 'CONNECT') {
    return refuse('BAD_METHOD', `expected method CONNECT, got ${request.method.slice(0, 20)}`);
  }
  const authority = parseAuthority(request.authority);
  if (!authority) return refuse('BAD_AUTHORITY', 'no valid authority pseudo header');
  if (authority.kind === 'ip' && !answersFor(mesh, local, authority.ip, request.localIp, network)) {
    return refuse('ADDRESS_MISMATCH', `ip mismatch: ${authority.ip} != ${request.localIp}`);
  }
  const resolved = resolvePort(mesh, local, authority);
  if ('code' in resolved) return refuse(resolved.code, resolved.detail);
  if (isOwnPort(resolved.port)) {
    return refuse('RECURSIVE_CALL', 'attempted recursive call to ourselves');
  }
  return tunnelled(mesh, local, request, authority, resolved);
}

/**
 * Step 4: the tunnel's own address, an application tunnel, or a target whose waypoint is this very
 * workload (the sandwich). `weightedWaypoints` do not count here.
 */
function answersFor(
  mesh: MeshView,
  local: Workload,
  wanted: IpAddress,
  localIp: IpAddress,
  network: string,
): boolean {
  if (wanted === localIp || local.applicationTunnel) return true;
  const found = mesh.findAddress(network, wanted, undefined);
  const gateway = found?.kind === 'service' ? found.service.waypoint : found?.workload.waypoint;
  const waypoint = gateway && findGateway(mesh, gateway);
  if (!waypoint) return false;
  if (waypoint.kind === 'workload') return waypoint.workload.addresses.includes(localIp);
  return mesh.endpoints(serviceKey(waypoint.service)).has(local.uid);
}

type Resolved =
  | { readonly port: number; readonly service: Service | undefined }
  | { readonly code: FaultCode; readonly detail: string };

/** Step 5: the authority's port, or for a host name the port this workload has for that service. */
function resolvePort(mesh: MeshView, local: Workload, authority: Authority): Resolved {
  if (authority.kind === 'ip') return { port: authority.port, service: undefined };
  const service = mesh.serviceByHost(authority.host, local.namespace);
  const mapping = service && local.services.get(serviceKey(service));
  if (!service || !mapping) {
    return { code: 'UNKNOWN_HOSTNAME', detail: `no service for hostname: ${authority.host}` };
  }
  const port = targetPort(service, authority.port, { ports: mapping }, local);
  if (port !== undefined) return { port, service };
  const detail = `requested service ${authority.host}:${authority.port} found, but cannot resolve port`;
  return { code: 'UNKNOWN_HOSTNAME', detail };
}

/** Step 7 and the labels. */
function tunnelled(
  mesh: MeshView,
  local: Workload,
  request: InboundRequest,
  authority: Authority,
  resolved: Extract<Resolved, { port: number }>,
): InboundPlan {
  const app = local.applicationTunnel;
  const port = app && app.port > 0 ? app.port : resolved.port;
  let proxyTarget: IpPort | undefined;
  if (app?.protocol === 'PROXY') {
    proxyTarget = tunnelTarget(authority, resolved.service);
    if (!proxyTarget)
      return refuse('UNKNOWN_HOSTNAME', 'the service has no address to tell the app');
  }
  const service = resolved.service ?? addressedService(mesh, local, request.forwardedHost, port);
  return { do: 'admit', dial: { ip: request.localIp, port }, service, proxyTarget };
}

function tunnelTarget(authority: Authority, service: Service | undefined): IpPort | undefined {
  if (authority.kind === 'ip') return { ip: authority.ip, port: authority.port };
  const vip = service?.vips.find((v) => !v.ip.includes(':')) ?? service?.vips[0];
  return vip && { ip: vip.ip, port: authority.port };
}

/** The service for metrics: the forwarded host if it is one of ours, else the first that fits the port. */
export function addressedService(
  mesh: MeshView,
  local: Workload,
  forwardedHost: string | undefined,
  port: number,
): Service | undefined {
  let byPort: Service | undefined;
  for (const [key, mapping] of local.services) {
    const service = mesh.service(key);
    if (!service) continue;
    if (service.hostname === forwardedHost) return service;
    const fits = service.ports.some(
      (p) => targetPort(service, p.servicePort, { ports: mapping }, local) === port,
    );
    if (fits) byPort ??= service;
  }
  return byPort;
}
