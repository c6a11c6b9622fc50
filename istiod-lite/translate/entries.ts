// ServiceEntry → Service and workloads, WorkloadEntry → Workload (control-plane.md 2.4, 2.5). Who owns a host
// name is decided here for all of them together: the contest needs to see everybody.
import type { IpAddress } from '../../core/base/index.ts';
import {
  type AppProtocol,
  type LoadBalancing,
  type Locality,
  type NamespacedHost,
  namespacedHost,
  type PortMap,
  type Service,
  type Workload,
  workloadUid,
} from '../../core/model/index.ts';
import type {
  ClusterState,
  Dict,
  EndpointFacts,
  EntryPortFacts,
  PodFacts,
  ServiceEntryFacts,
  ServiceFacts,
  WorkloadEntryFacts,
} from '../cluster/index.ts';
import { selects } from './selector.ts';
import { distributionOf, serviceHostname } from './services.ts';
import type { MeshSettings } from './settings.ts';
import { policiesOf } from './workloads.ts';

const older = (a: ServiceEntryFacts, b: ServiceEntryFacts): boolean =>
  a.created !== b.created
    ? a.created < b.created
    : a.namespace !== b.namespace
      ? a.namespace < b.namespace
      : a.name < b.name;

const isIp = (a: ServiceEntryFacts['addresses'][number]): a is IpAddress => typeof a === 'string';

/** Which ServiceEntry speaks for a host in a namespace, and which of these is the canonical one. */
export class HostOwners {
  readonly #byKey = new Map<NamespacedHost, ServiceEntryFacts>();
  readonly #canonical = new Map<string, ServiceEntryFacts>();
  /** Addresses of Kubernetes Services, with their namespaces. */
  readonly #taken = new Map<IpAddress, string>();

  constructor(cluster: ClusterState, m: MeshSettings) {
    for (const e of cluster.serviceEntries.all()) {
      if (e.fault !== undefined) continue;
      for (const host of e.hosts) {
        const key = namespacedHost(e.namespace, host);
        const now = this.#byKey.get(key);
        const kube = cluster.services.get(e.namespace, host.split('.')[0] ?? '');
        if (kube && serviceHostname(kube, m) === host) continue;
        if (!now || older(e, now)) this.#byKey.set(key, e);
      }
    }
    if (this.#byKey.size === 0) return;
    const taken = new Set<string>();
    for (const s of cluster.services.all()) {
      if (s.type !== 'ExternalName') taken.add(serviceHostname(s, m));
      for (const ip of s.clusterIps) this.#taken.set(ip, s.namespace);
    }
    for (const [key, e] of this.#byKey) {
      const host = key.slice(key.indexOf('/') + 1);
      const now = this.#canonical.get(host);
      if (!taken.has(host) && (!now || older(e, now))) this.#canonical.set(host, e);
    }
  }

  /** The hosts of an entry that it speaks for. */
  hosts(e: ServiceEntryFacts): string[] {
    return e.hosts.filter((h) => this.#byKey.get(namespacedHost(e.namespace, h)) === e);
  }

  /** It claims an address that is a Kubernetes Service's of another namespace (K11). */
  trespasses(e: ServiceEntryFacts): boolean {
    return e.addresses.some((a) => {
      const owner = isIp(a) ? this.#taken.get(a) : undefined;
      return owner !== undefined && owner !== e.namespace;
    });
  }

  isCanonical(e: ServiceEntryFacts, host: string): boolean {
    return this.#canonical.get(host) === e;
  }
}

const protocols = new Map<string, AppProtocol>([
  ['HTTP', 'HTTP11'],
  ['HTTP2', 'HTTP2'],
  ['GRPC', 'GRPC'],
  ['HTTPS', 'TLS'],
  ['TLS', 'TLS'],
  ['TCP', 'TCP'],
]);

function balancing(cluster: ClusterState, e: ServiceEntryFacts): LoadBalancing | undefined {
  if (e.resolution === 'NONE')
    return { preferences: [], mode: 'Passthrough', healthPolicy: 'AllowAll' };
  const preferences = distributionOf(cluster, e.namespace, '', e.annotations);
  return preferences && { preferences, mode: 'Failover', healthPolicy: 'OnlyHealthy' };
}

function toService(
  cluster: ClusterState,
  e: ServiceEntryFacts,
  host: string,
  owners: HostOwners,
  m: MeshSettings,
): Service {
  const loadBalancing = balancing(cluster, e);
  const { network } = m;
  const own = e.addresses.filter(isIp);
  const ips = e.addresses.length > 0 ? own : (e.allocated.get(host) ?? []);
  return {
    name: e.name,
    namespace: e.namespace,
    hostname: host,
    vips: ips.map((ip) => ({ network, ip })),
    cidrVips: e.addresses.flatMap((a) => (isIp(a) ? [] : [{ network, cidr: a }])),
    ports: e.ports.map((p) => ({
      servicePort: p.number,
      targetPort: p.targetPort,
      appProtocol: protocols.get(p.protocol) ?? 'UNKNOWN',
    })),
    subjectAltNames: e.subjectAltNames,
    weightedWaypoints: [],
    ...(loadBalancing && { loadBalancing }),
    ipFamilies: 'Automatic',
    canonical: owners.isCanonical(e, host),
    // What claims somebody else's address is heard of in its own namespace only.
    visibility: owners.trespasses(e) ? 'Namespace' : 'Public',
  };
}

function localityOf(text: string): Locality {
  const [region = '', zone = '', subzone = ''] = text.split('/');
  return { region, zone, subzone };
}

interface Telling {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Those that say how it receives and what it is called. */
  readonly labels: Dict;
  readonly annotations: Dict;
  readonly endpoint: EndpointFacts;
  readonly services: ReadonlyMap<NamespacedHost, PortMap>;
}

function toWorkload(cluster: ClusterState, t: Telling, m: MeshSettings): Workload {
  const { endpoint: e, labels } = t;
  const label = (...names: string[]): string | undefined =>
    names.map((n) => labels.get(n)).find((v) => v !== undefined && v !== '');
  const native = (labels.get('networking.istio.io/tunnel') ?? '').split(',').includes('http');
  const enrolled = t.annotations.get('ambient.istio.io/redirection') === 'enabled';
  const workloadName = label('service.istio.io/workload-name') ?? t.name;
  return {
    uid: workloadUid(`${m.clusterId}/networking.istio.io/${t.uid}`),
    name: t.name,
    namespace: t.namespace,
    addresses: e.ip ? [e.ip] : [],
    hostname: e.ip ? '' : e.address,
    network: e.network || m.network,
    protocol: enrolled || native ? 'HBONE' : 'TCP',
    trustDomain: m.trustDomain,
    serviceAccount: e.serviceAccount || 'default',
    node: '',
    canonicalName:
      label('service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app') ?? workloadName,
    canonicalRevision:
      label('service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version') ??
      'latest',
    workloadType: 'pod',
    workloadName,
    nativeTunnel: native,
    authorizationPolicies: policiesOf(cluster, t.namespace, labels),
    status: 'Healthy',
    clusterId: m.clusterId,
    services: t.services,
    locality: localityOf(e.locality),
    networkMode: 'Standard',
    capacity: e.weight || 1,
  };
}

const entryPorts = (ports: readonly EntryPortFacts[], e: EndpointFacts): PortMap =>
  new Map(ports.map((p) => [p.number, e.ports.get(p.name) ?? p.targetPort]));

/** The endpoints that are written into the entry, or meant by its names. */
function inline(
  cluster: ClusterState,
  owners: HostOwners,
  e: ServiceEntryFacts,
  m: MeshSettings,
): Workload[] {
  const hosts = owners.hosts(e);
  if (hosts.length === 0) return [];
  const make = (endpoint: EndpointFacts, of: readonly string[]): Workload =>
    toWorkload(
      cluster,
      {
        uid: `ServiceEntry/${e.namespace}/${e.name}/${endpoint.address}`,
        name: e.name,
        namespace: e.namespace,
        labels: e.labels,
        annotations: e.annotations,
        endpoint,
        services: new Map(
          of.map((h) => [namespacedHost(e.namespace, h), entryPorts(e.ports, endpoint)]),
        ),
      },
      m,
    );
  if (e.endpoints.length > 0) return e.endpoints.map((x) => make(x, hosts));
  if (e.selector || e.resolution !== 'DNS') return [];
  const nothing = { ip: undefined, ports: new Map(), labels: new Map(), network: '', locality: '' };
  return hosts
    .filter((h) => !h.startsWith('*'))
    .map((h) => make({ ...nothing, address: h, weight: 0, serviceAccount: '' }, [h]));
}

/** Services and entries of the namespace that select a WorkloadEntry. */
function selecting(
  cluster: ClusterState,
  owners: HostOwners,
  w: WorkloadEntryFacts,
  endpoint: EndpointFacts,
  m: MeshSettings,
): Map<NamespacedHost, PortMap> {
  const out = new Map<NamespacedHost, PortMap>();
  for (const s of cluster.services.in(w.namespace)) {
    if (s.type === 'ExternalName' || s.selector.size === 0) continue;
    if (!selects(s.selector, endpoint.labels)) continue;
    out.set(namespacedHost(s.namespace, serviceHostname(s, m)), servicePorts(s, endpoint));
  }
  for (const e of cluster.serviceEntries.in(w.namespace)) {
    if (!e.selector || e.selector.size === 0 || !selects(e.selector, endpoint.labels)) continue;
    for (const h of owners.hosts(e))
      out.set(namespacedHost(e.namespace, h), entryPorts(e.ports, endpoint));
  }
  return out;
}

function servicePorts(s: ServiceFacts, e: EndpointFacts): PortMap {
  const out = new Map<number, number>();
  for (const p of s.ports) {
    const named = typeof p.targetPort === 'string' ? e.ports.get(p.targetPort) : p.targetPort;
    const target = e.ports.get(p.name) ?? named;
    if (target !== undefined) out.set(p.port, target);
  }
  return out;
}

/** The ServiceEntries that select a pod: a container port of the entry's port name wins (2.3). */
export function entriesOfPod(
  cluster: ClusterState,
  owners: HostOwners,
  p: PodFacts,
): Map<NamespacedHost, PortMap> {
  const out = new Map<NamespacedHost, PortMap>();
  for (const e of cluster.serviceEntries.in(p.namespace)) {
    if (!e.selector || e.selector.size === 0 || !selects(e.selector, p.labels)) continue;
    const ports = new Map(
      e.ports.map((x) => [
        x.number,
        p.ports.find((c) => c.name !== '' && c.name === x.name)?.port ?? x.targetPort,
      ]),
    );
    for (const h of owners.hosts(e)) out.set(namespacedHost(e.namespace, h), ports);
  }
  return out;
}

/** Whether the entry, or its namespace, asks for a waypoint. */
export function asksForWaypoint(cluster: ClusterState, e: ServiceEntryFacts): boolean {
  const label = 'istio.io/use-waypoint';
  const asked = e.labels.get(label) ?? cluster.namespaces.get('', e.namespace)?.labels.get(label);
  return asked !== undefined && asked !== 'none';
}

/** Names that only a waypoint can resolve do not count without one: they go where they went before. */
const applies = (cluster: ClusterState, e: ServiceEntryFacts, host: string): boolean =>
  !e.dynamic || !host.startsWith('*') || asksForWaypoint(cluster, e);

export interface EntryOutputs {
  readonly services: readonly Service[];
  readonly workloads: readonly Workload[];
}

/** Everything that all ServiceEntries and WorkloadEntries together give. */
export function translateEntries(
  cluster: ClusterState,
  owners: HostOwners,
  m: MeshSettings,
): EntryOutputs {
  const services: Service[] = [];
  const workloads: Workload[] = [];
  for (const e of cluster.serviceEntries.all()) {
    const hosts = owners.hosts(e).filter((h) => applies(cluster, e, h));
    for (const host of hosts) services.push(toService(cluster, e, host, owners, m));
    workloads.push(...inline(cluster, owners, e, m));
  }
  for (const w of cluster.workloadEntries.all()) {
    if (!w.endpoint) continue;
    const telling: Telling = {
      uid: `WorkloadEntry/${w.namespace}/${w.name}`,
      name: w.name,
      namespace: w.namespace,
      labels: w.endpoint.labels,
      annotations: w.annotations,
      endpoint: w.endpoint,
      services: selecting(cluster, owners, w, w.endpoint, m),
    };
    workloads.push(toWorkload(cluster, telling, m));
  }
  return { services, workloads };
}
