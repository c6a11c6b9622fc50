// Workloads and services with defaults, for the plan tests of this folder. Network "", namespace `ns`.
import { parseIp, type IpAddress } from '../core/base/index.ts';
import {
  type Batch,
  type GatewayAddress,
  type MeshView,
  MeshState,
  type NamespacedHost,
  namespacedHost,
  type PortMap,
  type Service,
  type Workload,
  workloadUid,
} from '../core/model/index.ts';

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed) throw new Error(`no address: ${text}`);
  return parsed;
};

export function workload(
  name: string,
  addresses: string[],
  more: Partial<Workload> = {},
): Workload {
  return {
    uid: workloadUid(`cluster1//Pod/ns/${name}`),
    name,
    namespace: 'ns',
    addresses: addresses.map(ip),
    hostname: '',
    network: '',
    protocol: 'TCP',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadType: 'deployment',
    workloadName: '',
    nativeTunnel: false,
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    services: new Map(),
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...more,
  };
}

export function service(
  hostname: string,
  vips: string[],
  ports: [number, number][],
  more: Partial<Service> = {},
): Service {
  return {
    name: hostname,
    namespace: 'ns',
    hostname,
    vips: vips.map((v) => ({ network: '', ip: ip(v) })),
    cidrVips: [],
    ports: ports.map(([servicePort, targetPort]) => ({
      servicePort,
      targetPort,
      appProtocol: 'UNKNOWN',
    })),
    subjectAltNames: [],
    weightedWaypoints: [],
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
    ...more,
  };
}

/** The `services` field of a workload. */
export const of = (
  ...hosts: (string | [string, [number, number][]])[]
): ReadonlyMap<NamespacedHost, PortMap> =>
  new Map(
    hosts.map((h) => {
      const [host, ports] = typeof h === 'string' ? [h, []] : h;
      return [namespacedHost('ns', host), new Map(ports)];
    }),
  );

export const byAddress = (address: string, port = 15008, network = ''): GatewayAddress => ({
  kind: 'address',
  network,
  ip: ip(address),
  hboneMtlsPort: port,
});

export const byHost = (hostname: string, port = 15008): GatewayAddress => ({
  kind: 'host',
  namespace: 'ns',
  hostname,
  hboneMtlsPort: port,
});

export function mesh(batch: Batch): MeshView {
  const state = new MeshState();
  state.apply(batch);
  return state.view;
}
