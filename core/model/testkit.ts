// Small workloads, services and policies for tests: the defaults are dull, each test says what matters.
// The arbitraries cover every field, for properties of codecs and of decisions.
import fc from 'fast-check';
import {
  type Cidr,
  formatIp,
  type IpAddress,
  makeCidr,
  parseCidr,
  parseIp,
} from '../base/index.ts';
import {
  emptyMatch,
  type GatewayAddress,
  type Match,
  type NamespacedHost,
  namespacedHost,
  type Pair,
  type Policy,
  type PolicyKey,
  policyKey,
  type PortMap,
  type Rule,
  type Service,
  type ServiceAccountMatch,
  type StringMatch,
  type Workload,
  workloadUid,
} from './index.ts';

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed) throw new RangeError(text);
  return parsed;
};

export const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (!parsed) throw new RangeError(text);
  return parsed;
};

export const host = (text: string): NamespacedHost => text as NamespacedHost;

/** A pod `namespace/name` with the given addresses. */
export function workload(
  key: string,
  addresses: readonly string[],
  more: Partial<Workload> = {},
): Workload {
  const [namespace = '', name = ''] = key.split('/');
  return {
    uid: workloadUid(`Kubernetes//Pod/${key}`),
    name,
    namespace,
    addresses: addresses.map(ip),
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: 'n1',
    canonicalName: name,
    canonicalRevision: 'latest',
    workloadType: 'pod',
    workloadName: name,
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

/** A service `namespace/name` with hostname `name.namespace`, port 80 → 8080. */
export function service(
  key: string,
  vips: readonly string[],
  more: Partial<Service> = {},
): Service {
  const [namespace = '', name = ''] = key.split('/');
  return {
    name,
    namespace,
    hostname: `${name}.${namespace}`,
    vips: vips.map((v) => ({ network: '', ip: ip(v) })),
    cidrVips: [],
    ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'TCP' }],
    subjectAltNames: [],
    weightedWaypoints: [],
    ipFamilies: 'Automatic',
    canonical: false,
    visibility: 'Public',
    ...more,
  };
}

/** Membership in services of `service(key)`'s form. */
export const member = (key: string, ports: readonly [number, number][] = [[80, 8080]]) => {
  const [namespace = '', name = ''] = key.split('/');
  return [namespacedHost(namespace, `${name}.${namespace}`), new Map(ports) as PortMap] as const;
};

export function policy(key: string, more: Partial<Policy> = {}): Policy {
  const [namespace = '', name = ''] = key.split('/');
  return {
    key: policyKey(namespace, name),
    name,
    namespace,
    scope: 'Namespace',
    action: 'Allow',
    dryRun: false,
    rules: [],
    ...more,
  };
}

export const keys = (...texts: readonly string[]): PolicyKey[] => texts.map((t) => t as PolicyKey);

export const only = <T>(...any: T[]): Pair<T> => ({ any, none: [] });
export const not = <T>(...none: T[]): Pair<T> => ({ any: [], none });
export const exact = (text: string): StringMatch => ({ kind: 'exact', text });
export const match = (m: Partial<Match>): Match => ({ ...emptyMatch, ...m });

/** Ordinary objects: deepEqual tells them from null-prototype ones. */
const record = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const bytes = fc.oneof(v4, v6);
const address = bytes.map((b) => formatIp(b)).filter((x) => x !== undefined);
const block = fc
  .tuple(bytes, fc.nat(128))
  .map(([b, n]) => makeCidr(b, Math.min(n, b.length * 8)))
  .filter((x) => x !== undefined);
const port = fc.integer({ min: 1, max: 65_535 });
const portMap = fc
  .array(fc.tuple(port, port), { maxLength: 4 })
  .map((p) => new Map(p.toSorted(([a], [b]) => a - b)) as PortMap);

const gateway: fc.Arbitrary<GatewayAddress> = fc.oneof(
  record({
    kind: fc.constant('host' as const),
    namespace: name,
    hostname: name,
    hboneMtlsPort: port,
  }),
  record({
    kind: fc.constant('address' as const),
    network: name,
    ip: address,
    hboneMtlsPort: port,
  }),
);

const optional = <K extends string, T>(key: K, value: fc.Arbitrary<T>) =>
  fc.option(value).map((v) => (v === null ? {} : { [key]: v }) as { [P in K]?: T });

/** Any workload that the wire can carry. */
export const anyWorkload: fc.Arbitrary<Workload> = fc
  .tuple(
    record({
      uid: fc.uuid().map(workloadUid),
      name,
      namespace: name,
      addresses: fc.array(address, { maxLength: 3 }),
      hostname: fc.oneof(fc.constant(''), name),
      network: fc.oneof(fc.constant(''), name),
      protocol: fc.constantFrom('TCP' as const, 'HBONE' as const),
      trustDomain: fc.oneof(fc.constant('cluster.local'), name),
      serviceAccount: name,
      node: name,
      canonicalName: name,
      canonicalRevision: name,
      workloadType: fc.constantFrom(...(['deployment', 'cronjob', 'pod', 'job'] as const)),
      workloadName: name,
      nativeTunnel: fc.boolean(),
      authorizationPolicies: fc.array(
        fc.tuple(name, name).map(([a, b]) => policyKey(a, b)),
        { maxLength: 3 },
      ),
      status: fc.constantFrom('Healthy' as const, 'Unhealthy' as const),
      clusterId: name,
      services: fc
        .array(fc.tuple(name, name, portMap), { maxLength: 3 })
        .map((all) => new Map(all.map(([ns, h, p]) => [namespacedHost(ns, h), p] as const))),
      locality: record({ region: name, zone: name, subzone: fc.constant('') }),
      networkMode: fc.constantFrom('Standard' as const, 'HostNetwork' as const),
      capacity: fc.nat(100),
    }),
    optional('waypoint', gateway),
    optional('networkGateway', gateway),
    optional(
      'applicationTunnel',
      record({
        protocol: fc.constantFrom('NONE' as const, 'PROXY' as const),
        port: fc.nat(65_535),
      }),
    ),
  )
  .map(([w, ...more]) => Object.assign({}, w, ...more) as Workload);

/** Any service that the wire can carry. */
export const anyService: fc.Arbitrary<Service> = fc
  .tuple(
    record({
      name,
      namespace: name,
      hostname: name,
      vips: fc.array(record({ network: fc.constantFrom('', 'n2'), ip: address }), {
        maxLength: 3,
      }),
      cidrVips: fc.array(
        record({
          network: fc.constantFrom('', 'n2'),
          cidr: block.filter((c) => c.bits < c.bytes.length * 8),
        }),
        { maxLength: 2 },
      ),
      ports: fc.array(
        record({
          servicePort: port,
          targetPort: fc.nat(65_535),
          appProtocol: fc.constantFrom(
            ...(['UNKNOWN', 'HTTP11', 'HTTP2', 'GRPC', 'TCP', 'TLS'] as const),
          ),
        }),
        { maxLength: 3 },
      ),
      subjectAltNames: fc.array(name, { maxLength: 2 }),
      weightedWaypoints: fc.array(record({ destination: gateway, weight: fc.nat(100) }), {
        maxLength: 2,
      }),
      ipFamilies: fc.constantFrom(...(['Automatic', 'IPv4', 'IPv6', 'Dual'] as const)),
      canonical: fc.boolean(),
      visibility: fc.constantFrom('Public' as const, 'Namespace' as const),
    }),
    optional('ingressUseWaypoint', fc.constant(true)),
    optional('waypoint', gateway),
    optional(
      'loadBalancing',
      record({
        preferences: fc.array(
          fc.constantFrom(
            ...(['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'] as const),
          ),
          { maxLength: 4 },
        ),
        mode: fc.constantFrom(...(['Standard', 'Strict', 'Failover', 'Passthrough'] as const)),
        healthPolicy: fc.constantFrom('OnlyHealthy' as const, 'AllowAll' as const),
      }),
    ),
  )
  .map(([s, ...more]) => Object.assign({}, s, ...more) as Service);

/** Words that collide often, so that rules do match. */
const word = fc.constantFrom('a', 'b', 'ab', 'ba', 'td/ns/a/sa/b', 'td/ns/b/sa/a', '');
const text: fc.Arbitrary<StringMatch> = fc.oneof(
  record({ kind: fc.constantFrom('exact', 'prefix', 'suffix'), text: word }),
  fc.constant({ kind: 'presence' as const }),
) as fc.Arbitrary<StringMatch>;
const account: fc.Arbitrary<ServiceAccountMatch> = record({
  namespace: fc.constantFrom('a', 'b'),
  serviceAccount: fc.constantFrom('a', 'b'),
});
const nearBlock = fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', 'fd00::/8').map(cidr);

const pair = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Pair<T>> =>
  record({
    any: fc.oneof(
      { weight: 3, arbitrary: fc.constant([] as T[]) },
      { weight: 2, arbitrary: fc.array(value, { minLength: 1, maxLength: 2 }) },
    ),
    none: fc.oneof(
      { weight: 5, arbitrary: fc.constant([] as T[]) },
      { weight: 1, arbitrary: fc.array(value, { minLength: 1, maxLength: 2 }) },
    ),
  });

const anyMatch: fc.Arbitrary<Match> = record({
  namespaces: pair(text),
  principals: pair(text),
  serviceAccounts: pair(account),
  sourceIps: pair(nearBlock),
  destinationIps: pair(nearBlock),
  destinationPorts: pair(fc.constantFrom(80, 8080)),
});

const anyRule: fc.Arbitrary<Rule> = fc.array(fc.array(anyMatch, { maxLength: 2 }), {
  maxLength: 3,
});

/** Policies in few namespaces with few names, so that they replace and meet each other. */
export const anyPolicy: fc.Arbitrary<Policy> = fc
  .record({
    name: fc.constantFrom('p', 'q', 'r', 's'),
    namespace: fc.constantFrom('root', 'a', 'b', ''),
    scope: fc.constantFrom(...(['Global', 'Namespace', 'WorkloadSelector'] as const)),
    action: fc.constantFrom('Allow' as const, 'Deny' as const),
    dryRun: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
    rules: fc.array(anyRule, { maxLength: 3 }),
  })
  .map((p) => ({ ...p, key: policyKey(p.namespace, p.name) }));
