// Workloads and services of a config dump back into a MeshState, so that tools decide with the very
// functions of the data plane, live or on a file (dump.ts is the way there). Pure.
import { parseCidr, parseIp } from '../base/index.ts';
import { type NamespacedHost, parseNamespacedHost, type PolicyKey, workloadUid } from './keys.ts';
import { MeshState } from './mesh-state.ts';
import type { BalanceScope, LoadBalancing, Service } from './service.ts';
import { readPolicyDump } from './undump.ts';
import type { GatewayAddress, PortMap, Workload } from './workload.ts';

type Json = Readonly<Record<string, unknown>>;

const object = (v: unknown): Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : {};
const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : Object.values(object(v)));
const text = (v: unknown, otherwise = ''): string => (typeof v === 'string' ? v : otherwise);
const texts = (v: unknown): string[] => list(v).filter((x) => typeof x === 'string');
const number = (v: unknown, otherwise: number): number => (typeof v === 'number' ? v : otherwise);

/** `namespace/hostname` or `network/ip`. */
function readGateway(v: unknown): GatewayAddress | undefined {
  const destination = text(object(v)['destination']);
  const slash = destination.indexOf('/');
  if (slash < 0) return undefined;
  const [left, right] = [destination.slice(0, slash), destination.slice(slash + 1)];
  const hboneMtlsPort = number(object(v)['hboneMtlsPort'], 15_008);
  const ip = parseIp(right);
  if (ip) return { kind: 'address', network: left, ip, hboneMtlsPort };
  return { kind: 'host', namespace: left, hostname: right, hboneMtlsPort };
}

function readPorts(v: unknown): PortMap {
  return new Map(Object.entries(object(v)).map(([k, p]) => [Number(k), number(p, 0)]));
}

/** Which services a workload backs stands with the services: `endpoints` by uid. */
function endpointsOf(services: readonly unknown[]): Map<string, Map<NamespacedHost, PortMap>> {
  const all = new Map<string, Map<NamespacedHost, PortMap>>();
  for (const s of services) {
    const o = object(s);
    const key = parseNamespacedHost(`${text(o['namespace'])}/${text(o['hostname'])}`);
    if (!key) continue;
    for (const e of Object.values(object(o['endpoints']))) {
      const uid = text(object(e)['workloadUid']);
      const mine = all.get(uid) ?? new Map<NamespacedHost, PortMap>();
      all.set(uid, mine.set(key, readPorts(object(e)['port'])));
    }
  }
  return all;
}

const workloadTypes = ['deployment', 'cronjob', 'pod', 'job'] as const;
const none: ReadonlyMap<NamespacedHost, PortMap> = new Map();

function readWorkload(
  v: unknown,
  backs: ReadonlyMap<string, ReadonlyMap<NamespacedHost, PortMap>>,
): Workload {
  const w = object(v);
  const uid = workloadUid(text(w['uid']));
  const named = new Map<NamespacedHost, PortMap>();
  for (const key of texts(w['services'])) {
    const host = parseNamespacedHost(key);
    if (host) named.set(host, new Map());
  }
  const waypoint = readGateway(w['waypoint']);
  const networkGateway = readGateway(w['networkGateway']);
  const local = object(w['locality']);
  const tunnel = object(w['applicationTunnel']);
  return {
    uid,
    name: text(w['name']),
    namespace: text(w['namespace']),
    addresses: texts(w['workloadIps'])
      .map(parseIp)
      .filter((ip) => ip !== undefined),
    hostname: text(w['hostname']),
    network: text(w['network']),
    protocol: w['protocol'] === 'HBONE' ? 'HBONE' : 'TCP',
    trustDomain: text(w['trustDomain'], 'cluster.local'),
    serviceAccount: text(w['serviceAccount'], 'default'),
    ...(waypoint && { waypoint }),
    ...(networkGateway && { networkGateway }),
    node: text(w['node']),
    canonicalName: text(w['canonicalName']),
    canonicalRevision: text(w['canonicalRevision']),
    workloadType: workloadTypes.find((t) => t === w['workloadType']) ?? 'deployment',
    workloadName: text(w['workloadName']),
    nativeTunnel: w['nativeTunnel'] === true,
    authorizationPolicies: texts(w['authorizationPolicies']).map((k) => k as PolicyKey),
    status: w['status'] === 'Unhealthy' ? 'Unhealthy' : 'Healthy',
    clusterId: text(w['clusterId'], 'Kubernetes'),
    services: new Map([...named, ...(backs.get(uid) ?? none)]),
    ...(w['applicationTunnel'] !== undefined && {
      applicationTunnel: {
        protocol: tunnel['protocol'] === 'PROXY' ? 'PROXY' : 'NONE',
        port: number(tunnel['port'], 0),
      },
    }),
    locality: {
      region: text(local['region']),
      zone: text(local['zone']),
      subzone: text(local['subzone']),
    },
    networkMode: w['networkMode'] === 'HostNetwork' ? 'HostNetwork' : 'Standard',
    capacity: number(w['capacity'], 1),
  };
}

const scopes: readonly string[] = ['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'];

function readBalancing(v: unknown): LoadBalancing | undefined {
  if (v === undefined) return undefined;
  const lb = object(v);
  const modes = ['Standard', 'Strict', 'Failover', 'Passthrough'] as const;
  return {
    preferences: texts(lb['routingPreferences']).filter((s): s is BalanceScope =>
      scopes.includes(s),
    ),
    mode: modes.find((m) => m === lb['mode']) ?? 'Standard',
    healthPolicy: lb['healthPolicy'] === 'AllowAll' ? 'AllowAll' : 'OnlyHealthy',
  };
}

function readService(v: unknown): Service {
  const s = object(v);
  const vips = texts(s['vips']).flatMap((t) => {
    const ip = parseIp(t.slice(t.indexOf('/') + 1));
    return ip ? [{ network: t.slice(0, t.indexOf('/')), ip }] : [];
  });
  const cidrVips = list(s['cidrVips']).flatMap((c) => {
    const cidr = parseCidr(text(object(c)['cidr']));
    return cidr ? [{ network: text(object(c)['network']), cidr }] : [];
  });
  const waypoint = readGateway(s['waypoint']);
  const weighted = list(s['weightedWaypoints']).flatMap((w) => {
    const destination = readGateway(object(w)['destination']);
    return destination ? [{ destination, weight: number(object(w)['weight'], 0) }] : [];
  });
  const loadBalancing = readBalancing(s['loadBalancer']);
  const families = ['IPv4', 'IPv6', 'Dual'] as const;
  return {
    name: text(s['name']),
    namespace: text(s['namespace']),
    hostname: text(s['hostname']),
    vips,
    cidrVips,
    ports: [...readPorts(s['ports'])].map(([servicePort, targetPort]) => ({
      servicePort,
      targetPort,
      appProtocol: 'UNKNOWN',
    })),
    subjectAltNames: texts(s['subjectAltNames']),
    ...(waypoint && { waypoint }),
    weightedWaypoints: weighted,
    ...(s['ingressUseWaypoint'] === true && { ingressUseWaypoint: true }),
    ...(loadBalancing && { loadBalancing }),
    ipFamilies: families.find((f) => f === s['ipFamilies']) ?? 'Automatic',
    canonical: s['canonical'] === true,
    visibility: s['visibility'] === 'Namespace' ? 'Namespace' : 'Public',
  };
}

/** The mesh a dump describes; policies that cannot be read are named, so that nothing is claimed in spite of them. */
export function readMeshDump(v: unknown): { mesh: MeshState; unread: readonly string[] } {
  const dump = object(v);
  const services = list(dump['services']);
  const backs = endpointsOf(services);
  const mesh = new MeshState();
  const unread: string[] = [];
  const policies = list(dump['policies']).flatMap((p) => {
    const policy = readPolicyDump(p);
    if (policy.ok) return [policy.value];
    unread.push(`${text(object(p)['namespace'])}/${text(object(p)['name'])}`);
    return [];
  });
  mesh.apply({
    policies,
    services: services.map(readService),
    workloads: list(dump['workloads']).map((w) => readWorkload(w, backs)),
  });
  return { mesh, unread };
}
