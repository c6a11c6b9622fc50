// Objects as the API server gives them → the world that the pure parts of this folder judge. For tests.
import type { KubeObject } from '../../core/kube/index.ts';
import { ClusterState, type Kind, nothingTouched } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { readRoots } from './backend-tls.ts';
import { type GatewayKind, GatewayState } from './gateway-state.ts';

/** What the cluster's own state takes; all other kinds are the gateways'. */
const clusterKinds: ReadonlySet<string> = new Set<Kind>([
  'Namespace',
  'Node',
  'Pod',
  'Service',
  'EndpointSlice',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'ServiceEntry',
  'WorkloadEntry',
  'ServiceAccount',
]);

export function worldOf(settings: World['settings'], objects: readonly KubeObject[]): World {
  const cluster = new ClusterState('istio-system', 'default');
  const gateways = new GatewayState();
  for (const o of objects) {
    const kind = o.kind ?? '';
    if (clusterKinds.has(kind)) cluster.apply(kind as Kind, 'ADDED', o, nothingTouched());
    else if (kind === 'ConfigMap') {
      gateways.roots.set(`${o.metadata.namespace ?? ''}/${o.metadata.name}`, readRoots(o));
    } else gateways.apply(kind as GatewayKind, 'ADDED', o);
  }
  return { cluster, gateways, settings };
}
