// Kubernetes objects → what a test waypoint is configured with, by the control plane's own translation, in memory.
import type { KubeObject } from '../../core/kube/index.ts';
import { ClusterState, type Kind, nothingTouched } from '../../istiod-lite/cluster/index.ts';
import { type GatewayKind, GatewayState, serviceConfigs } from '../../istiod-lite/gateway/index.ts';
import type { TestWaypoint } from './waypoint.ts';

const settings = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  network: '',
};
const ofCluster = new Set(['Namespace', 'Service', 'Pod']);

export const shopObject = (
  kind: string,
  name: string,
  rest: object,
  namespace = 'shop',
  labels: Record<string, string> = {},
): KubeObject => ({
  kind,
  metadata: { name, namespace, uid: `uid-${name}`, generation: 1, labels },
  ...rest,
});

/** Namespace `shop`, and its Gateway that all of its services are bound to. */
export const shopWaypoint: readonly KubeObject[] = [
  {
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio.io/use-waypoint': 'waypoint' } },
  },
  shopObject('Gateway', 'waypoint', {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  }),
];

/** The waypoint knows these objects and no others. */
export function configureFrom(w: TestWaypoint, objects: readonly KubeObject[]): void {
  const cluster = new ClusterState('istio-system', 'default');
  const gateways = new GatewayState();
  for (const o of [...shopWaypoint, ...objects]) {
    const kind = o.kind ?? '';
    if (ofCluster.has(kind)) cluster.apply(kind as Kind, 'ADDED', o, nothingTouched());
    else gateways.apply(kind as GatewayKind, 'ADDED', o);
  }
  for (const { config } of serviceConfigs({ cluster, gateways, settings })) {
    w.configure((config.hostname ?? '').split('.', 1)[0] ?? '', config);
  }
}
