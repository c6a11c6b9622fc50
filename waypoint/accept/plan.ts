// May this CONNECT come here, and which service is meant (waypoint-l7.md 1.3, 1.4). Pure. The service is told
// by the target alone, never by an inner Host header.
import { type FaultCode, type IpPort, parseAuthority } from '../../core/base/index.ts';
import {
  findGateway,
  type GatewayAddress,
  type MeshView,
  namespacedHost,
  type Service,
  serviceKey,
} from '../../core/model/index.ts';
import { directCluster } from '../l7/cluster.ts';
import type { CompiledPort, CompiledService } from '../l7/compile.ts';

export type AcceptPlan =
  | {
      readonly do: 'serve';
      readonly service: CompiledService;
      readonly port: CompiledPort;
      readonly target: IpPort;
    }
  /** The mesh says the service is ours, its configuration is not here yet. */
  | { readonly do: 'wait'; readonly key: string }
  | { readonly do: 'refuse'; readonly code: FaultCode; readonly detail: string };

interface Services {
  get(key: string): CompiledService | undefined;
  forWorkloads(): CompiledService | undefined;
}

interface Own {
  readonly network: string;
  readonly namespace: string;
  readonly gateway: string;
}

const named = (w: GatewayAddress, own: Own): boolean =>
  w.kind === 'host' && w.namespace === own.namespace && w.hostname.split('.', 1)[0] === own.gateway;

/** References by address cannot be told apart here; they may be ours. */
function isOurs(s: Service, own: Own): boolean {
  const all = [s.waypoint, ...s.weightedWaypoints.map((w) => w.destination)];
  return all.some((w) => w !== undefined && (w.kind !== 'host' || named(w, own)));
}

function leadsHere(mesh: MeshView, w: GatewayAddress, own: Own): boolean {
  if (w.kind === 'host') return named(w, own);
  const found = findGateway(mesh, w);
  return found?.kind === 'service'
    ? found.service.namespace === own.namespace && found.service.name === own.gateway
    : false;
}

/** A call to a workload's own address (1.4, step 3). */
function planDirect(
  mesh: MeshView,
  services: Services,
  target: IpPort,
  own: Own,
): AcceptPlan | undefined {
  const workload = mesh.workloadByAddress(own.network, target.ip);
  if (!workload?.waypoint || !leadsHere(mesh, workload.waypoint, own)) return undefined;
  const service = services.forWorkloads();
  if (!service) return { do: 'wait', key: workload.uid };
  const port: CompiledPort = {
    port: target.port,
    protocol: 'detect',
    cluster: directCluster(service.key, workload.uid, target.port),
    routes: undefined,
    consumers: new Map(),
    tcp: undefined,
    tls: [],
  };
  return { do: 'serve', service, port, target };
}

const refuse = (code: FaultCode, detail: string): AcceptPlan => ({ do: 'refuse', code, detail });

export function planAccept(
  mesh: MeshView,
  services: Services,
  request: { readonly method: string; readonly authority: string },
  own: Own,
): AcceptPlan {
  if (request.method !== 'CONNECT') return refuse('BAD_METHOD', request.method);
  const authority = parseAuthority(request.authority);
  if (!authority) return refuse('BAD_AUTHORITY', request.authority);
  const found =
    authority.kind === 'ip'
      ? mesh.serviceByVip(own.network, authority.ip, undefined)
      : mesh.serviceByHost(authority.host, undefined);
  if (!found) {
    const target = authority.kind === 'ip' ? { ip: authority.ip, port: authority.port } : undefined;
    const direct = target && planDirect(mesh, services, target, own);
    return direct ?? refuse('WAYPOINT_NOT_BOUND', `nothing of ours at ${request.authority}`);
  }
  const key = namespacedHost(found.namespace, found.hostname);
  const service = services.get(serviceKey(found));
  if (!service) {
    return isOurs(found, own)
      ? { do: 'wait', key }
      : refuse('WAYPOINT_NOT_BOUND', `${found.hostname} is not bound to this waypoint`);
  }
  const port = service.ports.get(authority.port);
  if (!port) return refuse('WAYPOINT_NOT_BOUND', `${found.hostname} has no port ${authority.port}`);
  const vip = authority.kind === 'ip' ? authority.ip : found.vips[0]?.ip;
  if (!vip) return refuse('BAD_AUTHORITY', `${found.hostname} has no address`);
  return { do: 'serve', service, port, target: { ip: vip, port: authority.port } };
}
