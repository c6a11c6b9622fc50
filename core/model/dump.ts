// The mesh as Istio's config_dump shows it (ztunnel-protocol.md 13.2): workloads, services, policies.
import { printCidr } from '../base/index.ts';
import type { MeshView } from './mesh-state.ts';
import type { Match, Pair, Policy, StringMatch } from './policy.ts';
import type { Service } from './service.ts';
import { serviceKey } from './service-store.ts';
import type { GatewayAddress, Workload } from './workload.ts';

type Json = Record<string, unknown>;

const compact = (o: Json): Json =>
  Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined && v !== ''));

const gateway = (g: GatewayAddress | undefined): Json | undefined =>
  g && {
    destination: g.kind === 'host' ? `${g.namespace}/${g.hostname}` : `${g.network}/${g.ip}`,
    hboneMtlsPort: g.hboneMtlsPort,
  };

export function dumpWorkload(w: Workload): Json {
  const { region, zone, subzone } = w.locality;
  return compact({
    workloadIps: w.addresses,
    waypoint: gateway(w.waypoint),
    networkGateway: gateway(w.networkGateway),
    protocol: w.protocol,
    networkMode: w.networkMode,
    uid: w.uid,
    name: w.name,
    namespace: w.namespace,
    trustDomain: w.trustDomain,
    serviceAccount: w.serviceAccount,
    network: w.network,
    workloadName: w.workloadName,
    workloadType: w.workloadType,
    canonicalName: w.canonicalName,
    canonicalRevision: w.canonicalRevision,
    hostname: w.hostname,
    node: w.node,
    nativeTunnel: w.nativeTunnel || undefined,
    applicationTunnel: w.applicationTunnel,
    authorizationPolicies: w.authorizationPolicies.length > 0 ? w.authorizationPolicies : undefined,
    status: w.status,
    clusterId: w.clusterId,
    locality: region || zone || subzone ? w.locality : undefined,
    services: w.services.size > 0 ? [...w.services.keys()] : undefined,
    capacity: w.capacity,
  });
}

export function dumpService(view: MeshView, s: Service): Json {
  const all = s.loadBalancing?.healthPolicy === 'AllowAll';
  const endpoints: Json = Object.fromEntries(
    [...view.endpoints(serviceKey(s)).values()]
      .filter((e) => e.healthy || all)
      .map((e) => [
        e.workload,
        {
          workloadUid: e.workload,
          port: Object.fromEntries(e.ports),
          status: e.healthy ? 'Healthy' : 'Unhealthy',
        },
      ]),
  );
  const lb = s.loadBalancing;
  return compact({
    name: s.name,
    namespace: s.namespace,
    hostname: s.hostname,
    vips: s.vips.map((v) => `${v.network}/${v.ip}`),
    cidrVips:
      s.cidrVips.length > 0
        ? s.cidrVips.map((v) => ({ network: v.network, cidr: printCidr(v.cidr) }))
        : undefined,
    ports: Object.fromEntries(s.ports.map((p) => [p.servicePort, p.targetPort])),
    endpoints,
    subjectAltNames: s.subjectAltNames,
    waypoint: gateway(s.waypoint),
    weightedWaypoints:
      s.weightedWaypoints.length > 0
        ? s.weightedWaypoints.map((w) => ({
            destination: gateway(w.destination),
            weight: w.weight,
          }))
        : undefined,
    ingressUseWaypoint: s.ingressUseWaypoint,
    loadBalancer: lb && {
      routingPreferences: lb.preferences,
      mode: lb.mode,
      healthPolicy: lb.healthPolicy,
    },
    ipFamilies: s.ipFamilies === 'Automatic' ? undefined : s.ipFamilies,
    canonical: s.canonical,
    visibility: s.visibility,
  });
}

const capital = { exact: 'Exact', prefix: 'Prefix', suffix: 'Suffix' } as const;

function dumpString(m: StringMatch): Json {
  return m.kind === 'presence' ? { Presence: [] } : { [capital[m.kind]]: m.text };
}

function dumpPair<T>(name: string, pair: Pair<T>, print: (value: T) => unknown): Json {
  const negated = `not${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  return compact({
    [name]: pair.any.length > 0 ? pair.any.map(print) : undefined,
    [negated]: pair.none.length > 0 ? pair.none.map(print) : undefined,
  });
}

function dumpMatch(m: Match): Json {
  return {
    ...dumpPair('namespaces', m.namespaces, dumpString),
    ...dumpPair('serviceAccounts', m.serviceAccounts, (a) => a),
    ...dumpPair('principals', m.principals, dumpString),
    ...dumpPair('sourceIps', m.sourceIps, printCidr),
    ...dumpPair('destinationIps', m.destinationIps, printCidr),
    ...dumpPair('destinationPorts', m.destinationPorts, (p) => p),
  };
}

export function dumpPolicy(p: Policy): Json {
  return {
    name: p.name,
    namespace: p.namespace,
    scope: p.scope,
    action: p.action,
    dryRun: p.dryRun,
    rules: p.rules.map((r) => r.map((clause) => clause.map(dumpMatch))),
  };
}

const by =
  (key: string) =>
  (a: Json, b: Json): number =>
    String(a[key]) < String(b[key]) ? -1 : 1;

/** The three lists, sorted as Istio sorts them. */
export function dumpMesh(view: MeshView): {
  workloads: Json[];
  services: Json[];
  policies: Json[];
} {
  return {
    workloads: [...view.workloads()].map(dumpWorkload).toSorted(by('uid')),
    services: [...view.services()].map((s) => dumpService(view, s)).toSorted(by('hostname')),
    policies: [...view.policies()].toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(dumpPolicy),
  };
}
