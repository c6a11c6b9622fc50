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

export const testSettings: World['settings'] = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  network: '',
};

/** An object of namespace `shop`, unless `meta` says another. */
export const shopObject = (
  kind: string,
  name: string,
  more: object = {},
  meta: object = {},
): KubeObject => ({
  kind,
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, generation: 1, ...meta },
  ...more,
});

/** A waypoint of namespace `shop` that is there: its class, Gateway, Service and one endpoint. */
export const waypointObjects = (name: string): KubeObject[] => [
  { kind: 'Namespace', metadata: { name: 'shop' } },
  {
    kind: 'GatewayClass',
    metadata: { name: 'istio-waypoint' },
    spec: { controllerName: 'istio.io/mesh-controller' },
  },
  shopObject('Gateway', name, {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
    status: { addresses: [{ type: 'Hostname', value: `${name}.shop.svc.cluster.local` }] },
  }),
  shopObject(
    'Service',
    name,
    { spec: { clusterIP: '10.0.0.9', ports: [{ port: 15008 }] } },
    { labels: { 'gateway.istio.io/managed': 'istio.io-mesh-controller' } },
  ),
  shopObject(
    'EndpointSlice',
    `${name}-1`,
    { endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: true } }], ports: [] },
    { labels: { 'kubernetes.io/service-name': name } },
  ),
];
