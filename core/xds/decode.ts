// Wire → model for Address and Authorization: the value, or every fault with its field path
// (ztunnel-protocol.md 6.2 "Conversion errors", 5.4). Malformed values never widen a policy: where the
// reference drops an entry silently we refuse the resource, so that its last good form stays (P4, P5).
import { bad, type Fault, formatIp, makeCidr, ok, type Result } from '../base/index.ts';
import type { Cidr } from '../base/index.ts';
import {
  type AppProtocol,
  type CidrVip,
  type Clause,
  type GatewayAddress,
  type LoadBalancing,
  type Match,
  type NamespacedHost,
  type Pair,
  parseNamespacedHost,
  type Policy,
  type PortMap,
  policyKey,
  type PolicyKey,
  type Service,
  type StringMatch,
  type Vip,
  type WeightedWaypoint,
  type Workload,
  workloadUid,
} from '../model/index.ts';
import type * as wire from '../proto/index.ts';
import { decode } from '../rpc/index.ts';

export type AddressResource =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

/** Collects faults while a message is read; `or` gives the stand-in that lets reading go on. */
class Reader {
  readonly faults: Fault[] = [];
  fault(path: string, message: string): void {
    this.faults.push({ path, message });
  }
  enumeration<T>(path: string, table: readonly (T | undefined)[], value: number): T {
    const hit = table[value];
    if (hit === undefined) this.fault(path, `unknown value ${value}`);
    return (hit ?? table.find((x) => x !== undefined)) as T;
  }
  result<T>(value: T): Result<T> {
    return this.faults.length > 0 ? bad(...this.faults) : ok(value);
  }
}

const appProtocols: readonly AppProtocol[] = ['UNKNOWN', 'HTTP11', 'HTTP2', 'GRPC', 'TCP', 'TLS'];
const scopes = [undefined, 'Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'] as const;

function readGateway(
  r: Reader,
  path: string,
  g: wire.GatewayAddress | null | undefined,
): GatewayAddress | undefined {
  if (!g) return undefined;
  const hboneMtlsPort = g.hboneMtlsPort;
  if (g.hostname) {
    const { namespace, hostname } = g.hostname;
    return { kind: 'host', namespace, hostname, hboneMtlsPort };
  }
  const ip = g.address && formatIp(g.address.address);
  if (!g.address || !ip) {
    r.fault(path, 'gateway without a destination');
    return undefined;
  }
  return { kind: 'address', network: g.address.network, ip, hboneMtlsPort };
}

function readPorts(list: wire.PortList): PortMap {
  return new Map(list.ports.map((p) => [p.servicePort, p.targetPort]));
}

function readServices(r: Reader, w: wire.Workload): Map<NamespacedHost, PortMap> {
  const services = new Map<NamespacedHost, PortMap>();
  for (const [key, list] of Object.entries(w.services)) {
    const host = parseNamespacedHost(key);
    if (host) services.set(host, readPorts(list));
    else r.fault(`services[${key}]`, 'must be namespace/hostname');
  }
  return services;
}

function readWorkload(r: Reader, w: wire.Workload): Workload {
  if (w.uid === '') r.fault('uid', 'must not be empty');
  const addresses = w.addresses.map((bytes, i) => {
    const ip = formatIp(bytes);
    if (!ip) r.fault(`addresses[${i}]`, `must be 4 or 16 bytes, is ${bytes.length}`);
    return ip;
  });
  const waypoint = readGateway(r, 'waypoint', w.waypoint);
  const networkGateway = readGateway(r, 'network_gateway', w.networkGateway);
  const tunnel = w.applicationTunnel;
  return {
    uid: workloadUid(w.uid),
    name: w.name,
    namespace: w.namespace,
    addresses: addresses.filter((ip) => ip !== undefined),
    hostname: w.hostname,
    network: w.network,
    protocol: r.enumeration('tunnel_protocol', ['TCP', 'HBONE'] as const, w.tunnelProtocol),
    trustDomain: w.trustDomain || 'cluster.local',
    serviceAccount: w.serviceAccount || 'default',
    ...(waypoint && { waypoint }),
    ...(networkGateway && { networkGateway }),
    node: w.node,
    canonicalName: w.canonicalName,
    canonicalRevision: w.canonicalRevision,
    // An unknown kind is telemetry only: the reference reads it as a deployment.
    workloadType:
      (['deployment', 'cronjob', 'pod', 'job'] as const)[w.workloadType] ?? 'deployment',
    workloadName: w.workloadName,
    nativeTunnel: w.nativeTunnel,
    authorizationPolicies: w.authorizationPolicies.map((k) => k as PolicyKey),
    status: r.enumeration('status', ['Healthy', 'Unhealthy'] as const, w.status),
    clusterId: w.clusterId || 'Kubernetes',
    services: readServices(r, w),
    ...(tunnel && {
      applicationTunnel: {
        protocol: r.enumeration(
          'application_tunnel.protocol',
          ['NONE', 'PROXY'] as const,
          tunnel.protocol,
        ),
        port: tunnel.port,
      },
    }),
    locality: {
      region: w.locality?.region ?? '',
      zone: w.locality?.zone ?? '',
      subzone: w.locality?.subzone ?? '',
    },
    networkMode: r.enumeration('network_mode', ['Standard', 'HostNetwork'] as const, w.networkMode),
    capacity: w.capacity?.value ?? 1,
  };
}

function readVips(r: Reader, s: wire.Service): { vips: Vip[]; cidrVips: CidrVip[] } {
  const vips: Vip[] = [];
  const cidrVips: CidrVip[] = [];
  for (const [i, a] of s.addresses.entries()) {
    const ip = formatIp(a.address);
    const full = a.address.length * 8;
    if (!ip) r.fault(`addresses[${i}]`, `must be 4 or 16 bytes, is ${a.address.length}`);
    else if (a.length === undefined || a.length === null || a.length === full) {
      vips.push({ network: a.network, ip });
    } else {
      const cidr = makeCidr(a.address, a.length);
      if (cidr) cidrVips.push({ network: a.network, cidr });
      else r.fault(`addresses[${i}].length`, `prefix ${a.length} does not fit`);
    }
  }
  return { vips, cidrVips };
}

function readBalancing(r: Reader, lb: wire.LoadBalancing): LoadBalancing {
  const modes = ['Standard', 'Strict', 'Failover', 'Passthrough'] as const;
  const health = ['OnlyHealthy', 'AllowAll'] as const;
  return {
    preferences: lb.routingPreference.map((s, i) =>
      r.enumeration(`load_balancing.routing_preference[${i}]`, scopes, s),
    ),
    mode: r.enumeration('load_balancing.mode', modes, lb.mode),
    healthPolicy: r.enumeration('load_balancing.health_policy', health, lb.healthPolicy),
  };
}

function readService(r: Reader, s: wire.Service): Service {
  if (s.hostname === '') r.fault('hostname', 'must not be empty');
  const waypoint = readGateway(r, 'waypoint', s.waypoint);
  const weighted = s.weightedWaypoints.map((w, i): WeightedWaypoint | undefined => {
    const destination = readGateway(r, `weighted_waypoints[${i}]`, w.destination);
    if (!destination) r.fault(`weighted_waypoints[${i}]`, 'without a destination');
    return destination && { destination, weight: w.weight };
  });
  const families = ['Automatic', 'IPv4', 'IPv6', 'Dual'] as const;
  return {
    name: s.name,
    namespace: s.namespace,
    hostname: s.hostname,
    ...readVips(r, s),
    ports: s.ports.map((p) => ({
      servicePort: p.servicePort,
      targetPort: p.targetPort,
      appProtocol: appProtocols[p.appProtocol] ?? 'UNKNOWN',
    })),
    subjectAltNames: s.subjectAltNames,
    ...(waypoint && { waypoint }),
    weightedWaypoints: weighted.filter((w) => w !== undefined),
    ...(s.ingressUseWaypoint && { ingressUseWaypoint: true }),
    ...(s.loadBalancing && { loadBalancing: readBalancing(r, s.loadBalancing) }),
    ipFamilies: r.enumeration('ip_families', families, s.ipFamilies),
    canonical: s.canonical,
    visibility: s.visibility === 1 ? 'Namespace' : 'Public',
  };
}

/** One Address; malformed bytes are a fault too. */
export function decodeAddress(bytes: Uint8Array): Result<AddressResource> {
  const r = new Reader();
  let message: wire.Address;
  try {
    message = decode('istio.workload.Address', bytes);
  } catch {
    return bad({ path: '', message: 'not an istio.workload.Address' });
  }
  if (message.workload) {
    return r.result({ kind: 'workload', workload: readWorkload(r, message.workload) });
  }
  if (message.service) {
    return r.result({ kind: 'service', service: readService(r, message.service) });
  }
  return bad({ path: '', message: 'neither workload nor service' });
}

function readString(r: Reader, path: string, m: wire.SecurityStringMatch): StringMatch {
  switch (m.matchType) {
    case 'exact':
      return { kind: 'exact', text: m.exact ?? '' };
    case 'prefix':
      return { kind: 'prefix', text: m.prefix ?? '' };
    case 'suffix':
      return { kind: 'suffix', text: m.suffix ?? '' };
    case 'presence':
      return { kind: 'presence' };
    default:
      r.fault(path, 'string match of an unknown kind');
      return { kind: 'presence' };
  }
}

function readCidr(r: Reader, path: string, a: wire.SecurityAddress): Cidr {
  const cidr = makeCidr(a.address, a.length);
  if (cidr) return cidr;
  r.fault(path, `address of ${a.address.length} bytes with prefix ${a.length}`);
  return { bytes: new Uint8Array(4), bits: 32 };
}

function readPort(r: Reader, path: string, port: number): number {
  if (port > 65535) r.fault(path, `port ${port} is out of range`);
  return port;
}

function pair<W, T>(
  path: string,
  any: readonly W[],
  none: readonly W[],
  read: (path: string, w: W) => T,
): Pair<T> {
  return {
    any: any.map((w, i) => read(`${path}[${i}]`, w)),
    none: none.map((w, i) => read(`not_${path}[${i}]`, w)),
  };
}

function readMatch(r: Reader, at: string, m: wire.SecurityMatch): Match {
  const text = (path: string, w: wire.SecurityStringMatch): StringMatch =>
    readString(r, `${at}.${path}`, w);
  const cidr = (path: string, w: wire.SecurityAddress): Cidr => readCidr(r, `${at}.${path}`, w);
  const port = (path: string, w: number): number => readPort(r, `${at}.${path}`, w);
  return {
    namespaces: pair('namespaces', m.namespaces, m.notNamespaces, text),
    principals: pair('principals', m.principals, m.notPrincipals, text),
    sourceIps: pair('source_ips', m.sourceIps, m.notSourceIps, cidr),
    destinationIps: pair('destination_ips', m.destinationIps, m.notDestinationIps, cidr),
    destinationPorts: pair('destination_ports', m.destinationPorts, m.notDestinationPorts, port),
    serviceAccounts: pair('service_accounts', m.serviceAccounts, m.notServiceAccounts, (_p, a) => ({
      namespace: a.namespace,
      serviceAccount: a.serviceAccount,
    })),
  };
}

/** One Authorization under the resource name it came with. */
export function decodeAuthorization(name: string, bytes: Uint8Array): Result<Policy> {
  const r = new Reader();
  let a: wire.SecurityAuthorization;
  try {
    a = decode('istio.security.Authorization', bytes);
  } catch {
    return bad({ path: '', message: 'not an istio.security.Authorization' });
  }
  const rules = a.rules.map((rule, i) =>
    rule.clauses.map(
      (clause, j): Clause =>
        clause.matches.map((m, k) => readMatch(r, `rules[${i}].clauses[${j}].matches[${k}]`, m)),
    ),
  );
  return r.result({
    key: name === '' ? policyKey(a.namespace, a.name) : (name as PolicyKey),
    name: a.name,
    namespace: a.namespace,
    scope: r.enumeration('scope', ['Global', 'Namespace', 'WorkloadSelector'] as const, a.scope),
    action: r.enumeration('action', ['Allow', 'Deny'] as const, a.action),
    dryRun: a.dryRun,
    rules,
  });
}
