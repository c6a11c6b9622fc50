// Kubernetes objects → what a test waypoint is configured with, by the control plane's own translation, in memory.
import type { KubeObject } from '../../core/kube/index.ts';
import { serviceConfigs } from '../../istiod-lite/gateway/index.ts';
import { shopObject, testSettings, worldOf } from '../../istiod-lite/gateway/testkit.ts';
import type { TestWaypoint } from './waypoint.ts';

/** Namespace `shop`, and its Gateway that all of its services are bound to. */
const shopWaypoint: readonly KubeObject[] = [
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
  for (const { config } of serviceConfigs(worldOf(testSettings, [...shopWaypoint, ...objects]))) {
    w.configure((config.hostname ?? '').split('.', 1)[0] ?? '', config);
  }
}
