// Model → wire for Address and Authorization, byte-compatible with Istio's own (ztunnel-protocol.md 6, 15).
import { type Cidr, parseIpBytes } from '../base/index.ts';
import type {
  GatewayAddress,
  LoadBalancing,
  Match,
  Pair,
  Policy,
  Service,
  StringMatch,
  Workload,
} from '../model/index.ts';
import * as wire from '../proto/index.ts';
import { type Draft, encode } from '../rpc/index.ts';

const ipBytes = (ip: string): Uint8Array => parseIpBytes(ip) ?? new Uint8Array(4);

function gateway(g: GatewayAddress): Draft<wire.GatewayAddress> {
  const { hboneMtlsPort } = g;
  if (g.kind === 'host') {
    return { hostname: { namespace: g.namespace, hostname: g.hostname }, hboneMtlsPort };
  }
  return { address: { network: g.network, address: ipBytes(g.ip) }, hboneMtlsPort };
}

const workloadTypes = { deployment: 0, cronjob: 1, pod: 2, job: 3 } as const;

function workload(w: Workload): Draft<wire.Workload> {
  const services = [...w.services].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const local = w.locality;
  return {
    uid: w.uid,
    name: w.name,
    namespace: w.namespace,
    addresses: w.addresses.map(ipBytes),
    hostname: w.hostname,
    network: w.network,
    tunnelProtocol: wire.TunnelProtocol[w.protocol === 'HBONE' ? 'HBONE' : 'NONE'],
    trustDomain: w.trustDomain === 'cluster.local' ? '' : w.trustDomain,
    serviceAccount: w.serviceAccount,
    ...(w.waypoint && { waypoint: gateway(w.waypoint) }),
    ...(w.networkGateway && { networkGateway: gateway(w.networkGateway) }),
    node: w.node,
    canonicalName: w.canonicalName,
    canonicalRevision: w.canonicalRevision,
    workloadType: workloadTypes[w.workloadType],
    workloadName: w.workloadName,
    nativeTunnel: w.nativeTunnel,
    authorizationPolicies: [...w.authorizationPolicies],
    status: wire.WorkloadStatus[w.status === 'Healthy' ? 'HEALTHY' : 'UNHEALTHY'],
    clusterId: w.clusterId,
    services: Object.fromEntries(
      services.map(([key, ports]) => [
        key,
        { ports: [...ports].map(([servicePort, targetPort]) => ({ servicePort, targetPort })) },
      ]),
    ) as Draft<wire.Workload>['services'],
    ...(w.applicationTunnel && {
      applicationTunnel: {
        protocol: wire.ApplicationTunnelProtocol[w.applicationTunnel.protocol],
        port: w.applicationTunnel.port,
      },
    }),
    ...((local.region || local.zone || local.subzone) && { locality: { ...local } }),
    networkMode: w.networkMode === 'HostNetwork' ? 1 : 0,
    ...(w.capacity !== 1 && { capacity: { value: w.capacity } }),
  };
}

const modes = { Standard: 0, Strict: 1, Failover: 2, Passthrough: 3 } as const;
const scopes = { Region: 1, Zone: 2, Subzone: 3, Node: 4, Cluster: 5, Network: 6 } as const;
const families = { Automatic: 0, IPv4: 1, IPv6: 2, Dual: 3 } as const;

const balancing = (lb: LoadBalancing): Draft<wire.LoadBalancing> => ({
  routingPreference: lb.preferences.map((p) => scopes[p]),
  mode: modes[lb.mode],
  healthPolicy: lb.healthPolicy === 'AllowAll' ? 1 : 0,
});

function service(s: Service): Draft<wire.Service> {
  return {
    name: s.name,
    namespace: s.namespace,
    hostname: s.hostname,
    addresses: [
      ...s.vips.map((v) => ({ network: v.network, address: ipBytes(v.ip) })),
      ...s.cidrVips.map((v) => ({
        network: v.network,
        address: v.cidr.bytes,
        length: v.cidr.bits,
      })),
    ],
    ports: s.ports.map((p) => ({
      servicePort: p.servicePort,
      targetPort: p.targetPort,
      appProtocol: wire.AppProtocol[p.appProtocol],
    })),
    subjectAltNames: [...s.subjectAltNames],
    ...(s.waypoint && { waypoint: gateway(s.waypoint) }),
    weightedWaypoints: s.weightedWaypoints.map((w) => ({
      destination: gateway(w.destination),
      weight: w.weight,
    })),
    ...(s.ingressUseWaypoint && { ingressUseWaypoint: true }),
    ...(s.loadBalancing && { loadBalancing: balancing(s.loadBalancing) }),
    ipFamilies: families[s.ipFamilies],
    canonical: s.canonical,
    visibility: s.visibility === 'Namespace' ? 1 : 0,
  };
}

export function encodeWorkload(w: Workload): Buffer {
  return encode('istio.workload.Address', { workload: workload(w) });
}

export function encodeService(s: Service): Buffer {
  return encode('istio.workload.Address', { service: service(s) });
}

function text(m: StringMatch): Draft<wire.SecurityStringMatch> {
  return m.kind === 'presence' ? { presence: {} } : { [m.kind]: m.text };
}

const cidr = (c: Cidr): Draft<wire.SecurityAddress> => ({ address: c.bytes, length: c.bits });

function both<T, W>(name: string, p: Pair<T>, write: (value: T) => W): Record<string, W[]> {
  const negated = `not${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  return { [name]: p.any.map(write), [negated]: p.none.map(write) };
}

function match(m: Match): Draft<wire.SecurityMatch> {
  return {
    ...both('namespaces', m.namespaces, text),
    ...both('principals', m.principals, text),
    ...both('sourceIps', m.sourceIps, cidr),
    ...both('destinationIps', m.destinationIps, cidr),
    ...both('destinationPorts', m.destinationPorts, (p) => p),
    ...both('serviceAccounts', m.serviceAccounts, (a) => ({ ...a })),
  };
}

export function encodePolicy(p: Policy): Buffer {
  return encode('istio.security.Authorization', {
    name: p.name,
    namespace: p.namespace,
    scope: { Global: 0, Namespace: 1, WorkloadSelector: 2 }[p.scope],
    action: p.action === 'Deny' ? 1 : 0,
    dryRun: p.dryRun,
    rules: p.rules.map((r) => ({ clauses: r.map((c) => ({ matches: c.map(match) })) })),
  });
}
