// backendRefs → services (waypoint-l7.md 3.8). A reference that leads nowhere keeps its weight and answers
// 500 for it. Within the mesh no ReferenceGrant is asked for, as in Istio.
import { L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, type ServicePortFacts, text } from '../cluster/index.ts';
import { appProtocol, serviceHostname } from '../translate/index.ts';
import { permits } from './grants.ts';
import type { World } from './binding.ts';
import { number, type RouteFacts } from './objects.ts';

/** The class of a port as a waypoint treats it (waypoint-l7.md 2.1). */
export function portProtocol(p: ServicePortFacts): number {
  switch (appProtocol(p)) {
    case 'HTTP11':
      return L7PortProtocol.HTTP;
    case 'HTTP2':
    case 'GRPC':
      return L7PortProtocol.HTTP2;
    case 'TCP':
    case 'TLS':
      return L7PortProtocol.TCP;
    case 'UNKNOWN':
      return L7PortProtocol.DETECT;
  }
}

export function readBackend(
  world: World,
  route: RouteFacts,
  ref: unknown,
  notes: { reason: string; message: string }[],
): Draft<wire.L7RouteBackend> {
  const group = text(field(ref, 'group'));
  const kind = text(field(ref, 'kind')) || 'Service';
  const name = text(field(ref, 'name'));
  const namespace = text(field(ref, 'namespace')) || route.namespace;
  const port = number(field(ref, 'port'));
  const given = field(ref, 'weight');
  const weight = typeof given === 'number' ? Math.max(0, given) : 1;
  const invalid = (reason: string, message: string): Draft<wire.L7RouteBackend> => {
    notes.push({ reason, message });
    return { namespace, hostname: name, port, weight, invalid: true };
  };
  if ((group !== '' && group !== 'core') || kind !== 'Service') {
    return invalid(
      'InvalidKind',
      `referencing unsupported backendRef: group "${group}" kind "${kind}"`,
    );
  }
  const from = { group: 'gateway.networking.k8s.io', kind: route.kind, namespace: route.namespace };
  if (world.grantsNeeded && !permits(world, from, { group: '', kind, namespace, name })) {
    const text = `no ReferenceGrant in namespace ${namespace} permits backendRef ${name}`;
    return invalid('RefNotPermitted', text);
  }
  if (port === 0) return invalid('InvalidDestination', 'port is required in backendRef');
  const hostname = serviceHostname({ name, namespace }, world.settings);
  const service = world.cluster.services.get(namespace, name);
  const found = service?.ports.find((p) => p.port === port);
  if (!service || service.type === 'ExternalName' || !found) {
    const what = service && !found ? `port ${port} of ` : '';
    return invalid('BackendNotFound', `${what}backend(${hostname}) not found`);
  }
  return { namespace, hostname, port, weight, protocol: portProtocol(found) };
}
