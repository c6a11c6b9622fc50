// Istio's local xDS file (ztunnel-protocol.md 7.7): workloads, services and policies in YAML, read once at the
// start, before the stream. Unknown keys and values that do not fit are faults, all told together.
import { parse, type ScalarTag } from 'yaml';
import {
  bad,
  type Fault,
  type IpAddress,
  ok,
  parseCidr,
  parseIp,
  type Result,
} from '../base/index.ts';
import {
  type Batch,
  emptyMatch,
  type GatewayAddress,
  type Match,
  type NamespacedHost,
  type Pair,
  parseNamespacedHost,
  type Policy,
  policyKey,
  type PortMap,
  type Service,
  type StringMatch,
  type Workload,
  workloadUid,
} from '../model/index.ts';

type Json = Readonly<Record<string, unknown>>;

/** `!Exact x`, `!Prefix x`, `!Suffix x`, `!Presence []`. */
const tags: ScalarTag[] = (['exact', 'prefix', 'suffix'] as const).map((kind) => ({
  tag: `!${kind.charAt(0).toUpperCase()}${kind.slice(1)}`,
  resolve: (text: string): StringMatch => ({ kind, text }),
}));
const presence = {
  tag: '!Presence',
  collection: 'seq' as const,
  resolve: (): StringMatch => ({ kind: 'presence' }),
};

class Reader {
  readonly faults: Fault[] = [];

  fault(path: string, message: string): void {
    this.faults.push({ path, message });
  }

  object(path: string, v: unknown, known: readonly string[]): Json {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) {
      this.fault(path, 'must be a mapping');
      return {};
    }
    for (const key of Object.keys(v))
      if (!known.includes(key)) this.fault(`${path}.${key}`, 'unknown key');
    return v as Json;
  }

  list(path: string, v: unknown): readonly unknown[] {
    if (v === undefined || v === null) return [];
    if (Array.isArray(v)) return v;
    this.fault(path, 'must be a list');
    return [];
  }

  text(path: string, v: unknown, otherwise?: string): string {
    if (typeof v === 'string') return v;
    if (v !== undefined || otherwise === undefined) this.fault(path, 'must be a text');
    return otherwise ?? '';
  }

  choice<T extends string>(path: string, v: unknown, choices: readonly T[], otherwise?: T): T {
    const hit = choices.find((c) => c === v);
    if (hit !== undefined) return hit;
    const [first] = choices;
    if ((v !== undefined || otherwise === undefined) && first !== undefined) {
      this.fault(path, `must be one of ${choices.join(', ')}`);
    }
    return (otherwise ?? first) as T;
  }

  ports(path: string, v: unknown): PortMap {
    const map = new Map<number, number>();
    if (v === undefined || v === null) return map;
    for (const [from, to] of Object.entries(this.object(path, v, Object.keys(v)))) {
      const good = /^\d{1,5}$/.test(from) && typeof to === 'number' && to >= 0 && to <= 65_535;
      if (good) map.set(Number(from), to);
      else this.fault(`${path}.${from}`, 'must be port: port');
    }
    return map;
  }

  ip(path: string, v: unknown): IpAddress | undefined {
    const ip = typeof v === 'string' ? parseIp(v) : undefined;
    if (!ip) this.fault(path, 'must be an address');
    return ip;
  }

  /** `network/ip` or `namespace/hostname` in one text. */
  gateway(path: string, v: unknown): GatewayAddress | undefined {
    if (v === undefined || v === null) return undefined;
    const o = this.object(path, v, ['destination', 'hboneMtlsPort']);
    const destination = this.text(`${path}.destination`, o['destination']);
    const slash = destination.indexOf('/');
    const hboneMtlsPort = typeof o['hboneMtlsPort'] === 'number' ? o['hboneMtlsPort'] : 15_008;
    if (slash < 0) {
      this.fault(`${path}.destination`, 'must be network/ip or namespace/hostname');
      return undefined;
    }
    const [left, right] = [destination.slice(0, slash), destination.slice(slash + 1)];
    const ip = parseIp(right);
    return ip
      ? { kind: 'address', network: left, ip, hboneMtlsPort }
      : { kind: 'host', namespace: left, hostname: right, hboneMtlsPort };
  }
}

const workloadKeys = [
  'uid',
  'name',
  'namespace',
  'serviceAccount',
  'workloadIps',
  'protocol',
  'node',
  'network',
  'waypoint',
  'networkGateway',
  'services',
  'trustDomain',
  'hostname',
  'workloadName',
  'canonicalName',
  'canonicalRevision',
  'status',
  'authorizationPolicies',
  'networkMode',
  'clusterId',
  'capacity',
];

function readWorkload(r: Reader, path: string, v: unknown): Workload {
  const w = r.object(path, v, workloadKeys);
  const text = (key: string, otherwise = ''): string => r.text(`${path}.${key}`, w[key], otherwise);
  const services = new Map<NamespacedHost, PortMap>();
  if (w['services'] === undefined) r.fault(`${path}.services`, 'is required; it may be {}');
  for (const [key, ports] of Object.entries((w['services'] ?? {}) as Json)) {
    const host = parseNamespacedHost(key);
    if (host) services.set(host, r.ports(`${path}.services[${key}]`, ports));
    else r.fault(`${path}.services[${key}]`, 'must be namespace/hostname');
  }
  const waypoint = r.gateway(`${path}.waypoint`, w['waypoint']);
  const networkGateway = r.gateway(`${path}.networkGateway`, w['networkGateway']);
  const ips = r.list(`${path}.workloadIps`, w['workloadIps']);
  return {
    uid: workloadUid(r.text(`${path}.uid`, w['uid'])),
    name: text('name'),
    namespace: text('namespace'),
    addresses: ips
      .map((ip, i) => r.ip(`${path}.workloadIps[${i}]`, ip))
      .filter((ip) => ip !== undefined),
    hostname: text('hostname'),
    network: text('network'),
    protocol: r.choice(`${path}.protocol`, w['protocol'], ['TCP', 'HBONE'] as const, 'TCP'),
    trustDomain: text('trustDomain', 'cluster.local') || 'cluster.local',
    serviceAccount: text('serviceAccount', 'default') || 'default',
    ...(waypoint && { waypoint }),
    ...(networkGateway && { networkGateway }),
    node: text('node'),
    canonicalName: text('canonicalName'),
    canonicalRevision: text('canonicalRevision'),
    workloadType: 'pod',
    workloadName: text('workloadName'),
    nativeTunnel: false,
    authorizationPolicies: r
      .list(`${path}.authorizationPolicies`, w['authorizationPolicies'])
      .map((k, i) => r.text(`${path}.authorizationPolicies[${i}]`, k) as Policy['key']),
    status: r.choice(`${path}.status`, w['status'], ['Healthy', 'Unhealthy'] as const, 'Healthy'),
    clusterId: text('clusterId', 'Kubernetes') || 'Kubernetes',
    services,
    locality: { region: '', zone: '', subzone: '' },
    networkMode: r.choice(
      `${path}.networkMode`,
      w['networkMode'],
      ['Standard', 'HostNetwork'] as const,
      'Standard',
    ),
    capacity: typeof w['capacity'] === 'number' ? w['capacity'] : 1,
  };
}

const serviceKeys = [
  'name',
  'namespace',
  'hostname',
  'vips',
  'ports',
  'subjectAltNames',
  'waypoint',
  'canonical',
];

function readService(r: Reader, path: string, v: unknown): Service {
  const s = r.object(path, v, serviceKeys);
  const waypoint = r.gateway(`${path}.waypoint`, s['waypoint']);
  const vips = r.list(`${path}.vips`, s['vips']).flatMap((vip, i) => {
    const text = r.text(`${path}.vips[${i}]`, vip);
    const ip = parseIp(text.slice(text.indexOf('/') + 1));
    if (!text.includes('/') || !ip) {
      r.fault(`${path}.vips[${i}]`, 'must be network/ip');
      return [];
    }
    return [{ network: text.slice(0, text.indexOf('/')), ip }];
  });
  return {
    name: r.text(`${path}.name`, s['name']),
    namespace: r.text(`${path}.namespace`, s['namespace']),
    hostname: r.text(`${path}.hostname`, s['hostname']),
    vips,
    cidrVips: [],
    ports: [...r.ports(`${path}.ports`, s['ports'])].map(([servicePort, targetPort]) => ({
      servicePort,
      targetPort,
      appProtocol: 'UNKNOWN',
    })),
    subjectAltNames: r
      .list(`${path}.subjectAltNames`, s['subjectAltNames'])
      .map((x, i) => r.text(`${path}.subjectAltNames[${i}]`, x)),
    ...(waypoint && { waypoint }),
    weightedWaypoints: [],
    ipFamilies: 'Automatic',
    canonical: s['canonical'] === true,
    visibility: 'Public',
  };
}

const matchFields = [
  'namespaces',
  'principals',
  'serviceAccounts',
  'sourceIps',
  'destinationIps',
  'destinationPorts',
];
const negated = (name: string): string => `not${name.charAt(0).toUpperCase()}${name.slice(1)}`;

function readPair<T>(
  r: Reader,
  path: string,
  m: Json,
  name: string,
  read: (v: unknown) => T | undefined,
): Pair<T> {
  const take = (key: string): T[] =>
    r.list(`${path}.${key}`, m[key]).flatMap((v, i) => {
      const one = read(v);
      if (one === undefined) r.fault(`${path}.${key}[${i}]`, 'not understood');
      return one === undefined ? [] : [one];
    });
  return { any: take(name), none: take(negated(name)) };
}

function readString(v: unknown): StringMatch | undefined {
  return typeof v === 'object' && v !== null && 'kind' in v ? (v as StringMatch) : undefined;
}

function readAccount(v: unknown): { namespace: string; serviceAccount: string } | undefined {
  const { namespace, serviceAccount } = (v ?? {}) as Record<string, unknown>;
  return typeof namespace === 'string' && typeof serviceAccount === 'string'
    ? { namespace, serviceAccount }
    : undefined;
}

function readMatch(r: Reader, path: string, v: unknown): Match {
  const m = r.object(path, v, [...matchFields, ...matchFields.map(negated)]);
  const cidr = (x: unknown) => (typeof x === 'string' ? parseCidr(x) : undefined);
  const port = (x: unknown) => (typeof x === 'number' && x > 0 && x < 65_536 ? x : undefined);
  return {
    ...emptyMatch,
    namespaces: readPair(r, path, m, 'namespaces', readString),
    principals: readPair(r, path, m, 'principals', readString),
    serviceAccounts: readPair(r, path, m, 'serviceAccounts', readAccount),
    sourceIps: readPair(r, path, m, 'sourceIps', cidr),
    destinationIps: readPair(r, path, m, 'destinationIps', cidr),
    destinationPorts: readPair(r, path, m, 'destinationPorts', port),
  };
}

function readPolicy(r: Reader, path: string, v: unknown): Policy {
  const p = r.object(path, v, ['name', 'namespace', 'scope', 'action', 'dryRun', 'rules']);
  if (typeof p['dryRun'] !== 'boolean') r.fault(`${path}.dryRun`, 'is required: true or false');
  const name = r.text(`${path}.name`, p['name']);
  const namespace = r.text(`${path}.namespace`, p['namespace']);
  const rules = r
    .list(`${path}.rules`, p['rules'])
    .map((rule, i) =>
      r
        .list(`${path}.rules[${i}]`, rule)
        .map((clause, j) =>
          r
            .list(`${path}.rules[${i}][${j}]`, clause)
            .map((m, k) => readMatch(r, `${path}.rules[${i}][${j}][${k}]`, m)),
        ),
    );
  const scopes = ['Global', 'Namespace', 'WorkloadSelector'] as const;
  return {
    key: policyKey(namespace, name),
    name,
    namespace,
    scope: r.choice(`${path}.scope`, p['scope'], scopes),
    action: r.choice(`${path}.action`, p['action'], ['Allow', 'Deny'] as const),
    dryRun: p['dryRun'] === true,
    rules,
  };
}

/** The text of the file as one batch for `MeshFeed.apply`. */
export function readLocalConfig(text: string): Result<Batch> {
  let root: unknown;
  try {
    root = parse(text, { customTags: [...tags, presence], maxAliasCount: 100 }) ?? {};
  } catch (error) {
    return bad({ path: '', message: error instanceof Error ? error.message : 'no YAML' });
  }
  const r = new Reader();
  const top = r.object('', root, ['workloads', 'services', 'policies']);
  const each = <T>(name: string, read: (r: Reader, path: string, v: unknown) => T): T[] =>
    r.list(name, top[name]).map((v, i) => read(r, `${name}[${i}]`, v));
  const batch = {
    workloads: each('workloads', readWorkload),
    services: each('services', readService),
    policies: each('policies', readPolicy),
  };
  return r.faults.length > 0 ? bad(...r.faults) : ok(batch);
}
