// May this CONNECT come here, and which service is meant (waypoint-l7.md 1.3, 1.4). Pure. The service is told
// by the target alone, never by an inner Host header.
import { type FaultCode, type IpPort, parseAuthority } from '../../core/base/index.ts';
import { type MeshView, namespacedHost, type Service, serviceKey } from '../../core/model/index.ts';
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

/** References by address cannot be told apart here; they may be ours. */
function isOurs(
  s: Service,
  own: { readonly namespace: string; readonly gateway: string },
): boolean {
  const w = s.waypoint;
  if (w?.kind !== 'host') return w !== undefined;
  return w.namespace === own.namespace && w.hostname.split('.', 1)[0] === own.gateway;
}

const refuse = (code: FaultCode, detail: string): AcceptPlan => ({ do: 'refuse', code, detail });

export function planAccept(
  mesh: MeshView,
  services: { get(key: string): CompiledService | undefined },
  request: { readonly method: string; readonly authority: string },
  own: { readonly network: string; readonly namespace: string; readonly gateway: string },
): AcceptPlan {
  if (request.method !== 'CONNECT') return refuse('BAD_METHOD', request.method);
  const authority = parseAuthority(request.authority);
  if (!authority) return refuse('BAD_AUTHORITY', request.authority);
  const found =
    authority.kind === 'ip'
      ? mesh.serviceByVip(own.network, authority.ip, undefined)
      : mesh.serviceByHost(authority.host, undefined);
  if (!found) return refuse('WAYPOINT_NOT_BOUND', `no service at ${request.authority}`);
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
