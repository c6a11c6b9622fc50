// Pod (and hand-made EndpointSlice endpoint) → Workload (control-plane.md 2.3, 2.4).
import {
  type NamespacedHost,
  namespacedHost,
  podUid,
  type PolicyKey,
  policyKey,
  type PortMap,
  type Workload,
  workloadUid,
} from '../../core/model/index.ts';
import type { ClusterState, Dict, PodFacts, ServiceFacts, SliceFacts } from '../cluster/index.ts';
import { peerAuthenticationKeys } from './peer-auth.ts';
import { selects } from './selector.ts';
import { serviceHostname } from './services.ts';
import type { MeshSettings } from './settings.ts';

/** Phases in which a pod is no workload any more. */
const terminal = new Set(['Succeeded', 'Failed']);

/** Deployment, CronJob … behind the pod, by Kubernetes' naming conventions. */
function ownerName(p: PodFacts): string {
  const label = p.labels.get('service.istio.io/workload-name');
  if (label) return label;
  if (!p.owner || p.generateName === '') return p.name;
  const { kind, name } = p.owner;
  const hash = p.labels.get('pod-template-hash');
  if (kind === 'ReplicaSet' && hash && name.endsWith(`-${hash}`))
    return name.slice(0, -hash.length - 1);
  if (kind === 'Job') return name.replace(/-\d+$/, '');
  return name;
}

function targetPorts(s: ServiceFacts, p: PodFacts): PortMap {
  const ports = new Map<number, number>();
  for (const port of s.ports) {
    if (typeof port.targetPort === 'number') ports.set(port.port, port.targetPort);
    else {
      const named = p.ports.find((c) => c.name === port.targetPort && c.protocol === port.protocol);
      if (named) ports.set(port.port, named.port);
    }
  }
  return ports;
}

function servicesOf(
  cluster: ClusterState,
  p: PodFacts,
  m: MeshSettings,
): Map<NamespacedHost, PortMap> {
  const out = new Map<NamespacedHost, PortMap>();
  const add = (s: ServiceFacts): void => {
    out.set(namespacedHost(s.namespace, serviceHostname(s, m)), targetPorts(s, p));
  };
  for (const s of cluster.services.in(p.namespace)) {
    if (s.type !== 'ExternalName' && s.selector.size > 0 && selects(s.selector, p.labels)) add(s);
  }
  for (const slice of cluster.slices.in(p.namespace)) {
    const service = cluster.services.get(p.namespace, slice.service);
    if (!service || out.has(namespacedHost(p.namespace, serviceHostname(service, m)))) continue;
    const names = slice.endpoints.some((e) => e.pod?.name === p.name && e.pod.uid === p.uid);
    if (names && service.type !== 'ExternalName') add(service);
  }
  return out;
}

/** The list of control-plane.md 3.4 for a workload with these labels. */
export function policiesOf(cluster: ClusterState, own: string, labels: Dict): PolicyKey[] {
  const keys: PolicyKey[] = [];
  for (const namespace of new Set([own, cluster.rootNamespace])) {
    for (const a of cluster.authorizationPolicies.in(namespace)) {
      if (a.targetRefs.length > 0 || !a.selector || a.selector.size === 0) continue;
      if (a.action !== 'ALLOW' && a.action !== 'DENY') continue;
      if (selects(a.selector, labels)) keys.push(policyKey(a.namespace, a.name));
    }
  }
  return [...keys.toSorted(), ...peerAuthenticationKeys(cluster, own, labels)];
}

/** `undefined` = no workload (no address yet, or finished). */
export function translatePod(
  cluster: ClusterState,
  p: PodFacts,
  m: MeshSettings,
  entries: ReadonlyMap<NamespacedHost, PortMap> = new Map(),
): Workload | undefined {
  if (p.ips.length === 0 || terminal.has(p.phase)) return undefined;
  const node = cluster.nodes.get('', p.node);
  const workloadName = ownerName(p);
  const label = (...names: string[]): string | undefined =>
    names.map((n) => p.labels.get(n)).find((v) => v !== undefined && v !== '');
  const native = (p.labels.get('networking.istio.io/tunnel') ?? '').split(',').includes('http');
  const enrolled = p.annotations.get('ambient.istio.io/redirection') === 'enabled';
  return {
    uid: podUid(m.clusterId, p.namespace, p.name),
    name: p.name,
    namespace: p.namespace,
    addresses: p.ips,
    hostname: '',
    network: m.network,
    protocol: enrolled || native ? 'HBONE' : 'TCP',
    trustDomain: m.trustDomain,
    serviceAccount: p.serviceAccount,
    node: p.node,
    canonicalName:
      label('service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app') ?? workloadName,
    canonicalRevision:
      label('service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version') ??
      'latest',
    workloadType: 'pod',
    workloadName,
    nativeTunnel: native,
    authorizationPolicies: policiesOf(cluster, p.namespace, p.labels),
    status: p.ready && !p.deleting ? 'Healthy' : 'Unhealthy',
    clusterId: m.clusterId,
    services: new Map([...servicesOf(cluster, p, m), ...entries]),
    locality: {
      region: node?.region ?? '',
      zone: node?.zone ?? '',
      subzone: node?.subzone ?? '',
    },
    networkMode: p.hostNetwork ? 'HostNetwork' : 'Standard',
    capacity: 1,
  };
}

function slicePorts(service: ServiceFacts, slice: SliceFacts): PortMap {
  const ports = new Map<number, number>();
  for (const p of slice.ports) {
    if (p.protocol !== 'TCP') continue;
    const match = service.ports.find((s) => s.name === p.name);
    if (match && p.port > 0) ports.set(match.port, p.port);
  }
  return ports;
}

/** Endpoints written by hand, without a pod behind them: no identity, no policies, no tunnel. */
export function translateSlice(
  cluster: ClusterState,
  slice: SliceFacts,
  m: MeshSettings,
): Workload[] {
  const service = cluster.services.get(slice.namespace, slice.service);
  if (slice.fqdn || !service) return [];
  const key = namespacedHost(service.namespace, serviceHostname(service, m));
  const out: Workload[] = [];
  for (const e of slice.endpoints) {
    const [first] = e.addresses;
    if (e.pod || first === undefined) continue;
    out.push({
      uid: workloadUid(
        `${m.clusterId}/discovery.k8s.io/EndpointSlice/${slice.namespace}/${slice.name}/${first}`,
      ),
      name: slice.name,
      namespace: slice.namespace,
      addresses: e.addresses,
      hostname: '',
      network: m.network,
      protocol: 'TCP',
      trustDomain: m.trustDomain,
      serviceAccount: 'default',
      node: '',
      canonicalName: '',
      canonicalRevision: '',
      workloadType: 'deployment',
      workloadName: '',
      nativeTunnel: false,
      authorizationPolicies: [],
      status: e.ready ? 'Healthy' : 'Unhealthy',
      clusterId: m.clusterId,
      services: new Map([[key, slicePorts(service, slice)]]),
      locality: { region: '', zone: '', subzone: '' },
      networkMode: 'HostNetwork',
      capacity: 1,
    });
  }
  return out;
}
