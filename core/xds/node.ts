// Who a proxy says it is on its xDS stream (ztunnel-protocol.md 7.2).
import type { XdsSourceOptions } from './xds-source.ts';

/** Said where a pod's address is not known. */
const unknownIp = '1.1.1.1';

export interface ProxyNode {
  readonly kind: 'ztunnel' | 'waypoint';
  readonly podName: string;
  readonly podNamespace: string;
  /** Empty = not known. */
  readonly podIp: string;
  /** More of the metadata: `NODE_NAME`. */
  readonly more: Readonly<Record<string, string>>;
}

export function xdsNode(n: ProxyNode): XdsSourceOptions['node'] {
  const ip = n.podIp === '' ? unknownIp : n.podIp;
  const all = { NAME: n.podName, NAMESPACE: n.podNamespace, INSTANCE_IPS: ip, ...n.more };
  const fields = Object.entries(all).map(([name, stringValue]) => [name, { stringValue }]);
  return {
    id: `${n.kind}~${ip}~${n.podName}.${n.podNamespace}~${n.podNamespace}.svc.cluster.local`,
    metadata: { fields: Object.fromEntries(fields) as Record<string, { stringValue: string }> },
  };
}
