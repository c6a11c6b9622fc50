// The calling workload as far as it is known: by address from the mesh, else what its baggage says.
// For metrics and logs alone (ztunnel-protocol.md 4.2 step 8).
import type { IpAddress } from '../../core/base/index.ts';
import type { Baggage } from '../../core/hbone/index.ts';
import { type MeshView, type Workload, workloadUid } from '../../core/model/index.ts';

export function sourceWorkload(
  mesh: MeshView,
  network: string,
  ip: IpAddress,
  baggage: Baggage | undefined,
): Workload | undefined {
  return mesh.workloadByAddress(network, ip) ?? (baggage && fromBaggage(baggage));
}

/** `undefined` if the baggage says nothing. */
function fromBaggage(b: Baggage): Workload | undefined {
  if (Object.keys(b).length === 0) return undefined;
  return {
    uid: workloadUid(''),
    name: b.canonicalName ?? '',
    namespace: b.namespace ?? '',
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: '',
    canonicalName: b.canonicalName ?? '',
    canonicalRevision: b.canonicalRevision ?? '',
    workloadType: 'pod',
    workloadName: b.workloadName ?? '',
    nativeTunnel: false,
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: b.clusterId ?? '',
    services: new Map(),
    locality: { region: b.region ?? '', zone: b.zone ?? '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  };
}
