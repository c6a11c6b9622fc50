// All inserts of N workloads: of one service, of a service each, of none. The time per workload must not grow
// with N (performance.md section 3, row `endpoint_insert`; checklist Z37).
import { type IpAddress, parseIp } from '../core/base/index.ts';
import {
  MeshState,
  namespacedHost,
  type NamespacedHost,
  podUid,
  type PortMap,
  type Service,
  type Workload,
} from '../core/model/index.ts';
import type { Result } from './data-path.ts';
import { median } from './sampling.ts';

const kinds = ['shared', 'distinct', 'no'] as const;
type Kind = (typeof kinds)[number];
const ports: PortMap = new Map([[80, 8080]]);

const service = (name: string): Service => ({
  name,
  namespace: 'shop',
  hostname: name,
  vips: [],
  cidrVips: [],
  ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' }],
  subjectAltNames: [],
  weightedWaypoints: [],
  ipFamilies: 'Automatic',
  canonical: true,
  visibility: 'Public',
});

function workload(i: number, kind: Kind): Workload {
  const ip = parseIp(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`);
  const of = kind === 'shared' ? 's' : `s${i}`;
  const services: ReadonlyMap<NamespacedHost, PortMap> =
    kind === 'no' ? new Map() : new Map([[namespacedHost('shop', of), ports]]);
  return {
    uid: podUid('Kubernetes', 'shop', `w${i}`),
    name: `w${i}`,
    namespace: 'shop',
    addresses: [ip as IpAddress],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: `n${i % 100}`,
    canonicalName: 'w',
    canonicalRevision: 'v1',
    workloadType: 'pod',
    workloadName: 'w',
    nativeTunnel: false,
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    services,
    locality: { region: 'r', zone: 'z', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  };
}

function insertMs(kind: Kind, n: number): number {
  const services =
    kind === 'no'
      ? []
      : kind === 'shared'
        ? [service('s')]
        : Array.from({ length: n }, (_, i) => service(`s${i}`));
  const workloads = Array.from({ length: n }, (_, i) => workload(i, kind));
  const mesh = new MeshState();
  mesh.apply({ services });
  const began = performance.now();
  mesh.apply({ workloads });
  return performance.now() - began;
}

export function* cases(filter = ''): IterableIterator<Result> {
  for (const kind of kinds) {
    for (const n of [250, 1000, 4000]) {
      const name = `endpoint_insert/${kind}-service/${n}`;
      if (!name.includes(filter)) continue;
      insertMs(kind, n);
      const ms = median(Array.from({ length: 15 }, () => insertMs(kind, n)));
      yield { name, unit: 'ms', value: ms, more: { microsPerWorkload: (ms * 1000) / n } };
    }
  }
}
