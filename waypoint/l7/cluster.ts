// A place to send to, prepared: a port of a service or of a subset of its pods, and how it is to be used.
import { type NamespacedHost, namespacedHost, type WorkloadUid } from '../../core/model/index.ts';
import { L7Balancer } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { OutsideTls } from '../../certs/index.ts';
import type { BreakerRules } from '../balance/breaker.ts';
import {
  defaultRingSize,
  defaultTableSize,
  maxRingSize,
  maxTableSize,
} from '../balance/consistent.ts';
import { xxh64 } from '../balance/hash.ts';
import type { LocalityRules } from '../balance/locality.ts';
import type { OutlierRules } from '../balance/outlier.ts';
import type { WarmupRules } from '../balance/slow-start.ts';
import { type ConnectionRules, connectionRules, defaultConnection } from './connection-rules.ts';

export type BalancerName =
  | 'least-request'
  | 'round-robin'
  | 'random'
  | 'passthrough'
  | 'ring-hash'
  | 'maglev';

export type HashSource =
  | { readonly by: 'header' | 'query'; readonly name: string }
  | { readonly by: 'source-ip' }
  | {
      readonly by: 'cookie';
      readonly name: string;
      readonly path: string;
      /** Absent = a missing cookie is not made; 0 = made for the browser's session. */
      readonly ttlMs: number | undefined;
      /** Of a cookie that is made, as they stand in Set-Cookie: `; Name=value`. */
      readonly attributes: string;
    };

export interface ClusterPolicy {
  readonly balancer: BalancerName;
  readonly hash: HashSource | undefined;
  readonly tableSize: number;
  readonly outlier: OutlierRules | undefined;
  readonly panicPercent: number;
  readonly breaker: BreakerRules;
  readonly connectTimeoutMs: number;
  readonly maxUses: number;
  readonly idleMs: number;
  readonly locality: LocalityRules | undefined;
  readonly upgradeH2: boolean;
  readonly useClientProtocol: boolean;
  readonly warmup?: WarmupRules | undefined;
  readonly connection: ConnectionRules;
  /** `fault` = what was asked for cannot be had; nothing is sent. `id` = another where anything of it is. */
  readonly tls?: (OutsideTls & { readonly fault: string; readonly id: string }) | undefined;
}

export interface Cluster {
  /** `namespace/hostname|port|subset`: what its state is kept by. */
  readonly key: string;
  readonly service: NamespacedHost;
  readonly port: number;
  readonly subset: string;
  /** Absent = all of the service. */
  readonly members: ReadonlySet<string> | undefined;
  /** A host with a wildcard: its endpoints are names that callers mean. */
  readonly wildcard?: string;
  /** The one that is meant. */
  readonly name?: string;
  /** That one endpoint, at the address the caller used. */
  readonly workload?: WorkloadUid;
  readonly policy: ClusterPolicy;
}

export const clusterKey = (service: NamespacedHost, port: number, subset: string): string =>
  `${service}|${port}|${subset}`;

export const defaultPolicy: ClusterPolicy = {
  balancer: 'least-request',
  hash: undefined,
  tableSize: 0,
  outlier: undefined,
  panicPercent: 0,
  breaker: { maxConnections: 0, maxPending: 0, maxRequests: 0, maxRetries: 0, budget: undefined },
  connectTimeoutMs: 0,
  maxUses: 0,
  idleMs: 0,
  locality: undefined,
  upgradeH2: false,
  useClientProtocol: false,
  connection: defaultConnection,
};

/** Connections to one name are not kept for long: callers may mean any number of them. */
const namedIdleMs = 60_000;

function wildcardOf(
  service: NamespacedHost,
  policy: ClusterPolicy,
): Pick<Cluster, 'wildcard' | 'policy'> {
  const host = service.slice(service.indexOf('/') + 1);
  if (!host.startsWith('*.')) return { policy };
  return { wildcard: host, policy: { ...policy, idleMs: policy.idleMs || namedIdleMs } };
}

export const defaultCluster = (service: NamespacedHost, port: number, subset = ''): Cluster => ({
  key: clusterKey(service, port, subset),
  service,
  port,
  subset,
  // A subset nobody defined has no members.
  members: subset === '' ? undefined : new Set(),
  ...wildcardOf(service, defaultPolicy),
});

export const directCluster = (
  service: NamespacedHost,
  workload: WorkloadUid,
  port: number,
): Cluster => ({
  ...defaultCluster(service, port),
  key: `${workload}|${port}|`,
  workload,
});

const balancers: Readonly<Record<number, BalancerName>> = {
  [L7Balancer.LEAST_REQUEST]: 'least-request',
  [L7Balancer.ROUND_ROBIN]: 'round-robin',
  [L7Balancer.RANDOM]: 'random',
  [L7Balancer.PASSTHROUGH]: 'passthrough',
  [L7Balancer.RING_HASH]: 'ring-hash',
  [L7Balancer.MAGLEV]: 'maglev',
};

function hashSource(h: wire.L7HashKey | null | undefined): HashSource | undefined {
  switch (h?.key) {
    case 'header':
      return { by: 'header', name: (h.header ?? '').toLowerCase() };
    case 'query':
      return { by: 'query', name: h.query ?? '' };
    case 'sourceIp':
      return h.sourceIp === true ? { by: 'source-ip' } : undefined;
    case 'cookie': {
      const c = h.cookie;
      if (!c) return undefined;
      const { name, path } = c;
      const attributes = c.attributes
        .map((a) => (a.value === '' ? `; ${a.name}` : `; ${a.name}=${a.value}`))
        .join('');
      return { by: 'cookie', name, path, ttlMs: c.generate ? c.ttlMs : undefined, attributes };
    }
    default:
      return undefined;
  }
}

function outlierRules(o: wire.L7OutlierDetection | null | undefined): OutlierRules | undefined {
  if (!o) return undefined;
  return {
    consecutive5xx: o.consecutive_5xx,
    consecutiveGateway: o.consecutiveGateway,
    consecutiveLocal: o.consecutiveLocal,
    split: o.splitLocal,
    intervalMs: o.intervalMs || 10_000,
    baseEjectionMs: o.baseEjectionMs || 30_000,
    maxEjectionPercent: o.maxEjectionPercent,
  };
}

const isPrime = (n: number): boolean => {
  if (n < 2) return false;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
};

/** What cannot be had is replaced: its author reads so in the rule's status, and requests go on. */
function tableSize(t: wire.L7TrafficPolicy): number {
  if (t.balancer === L7Balancer.MAGLEV) {
    const size = t.tableSize || defaultTableSize;
    return size <= maxTableSize && isPrime(size) ? size : defaultTableSize;
  }
  return Math.min(t.tableSize || defaultRingSize, maxRingSize);
}

/** Where load goes by turn or by what runs; a hash, chance or the caller's wish knows no weight that grows. */
function warmupRules({ balancer, warmup: w }: wire.L7TrafficPolicy): WarmupRules | undefined {
  const may = balancer === L7Balancer.LEAST_REQUEST || balancer === L7Balancer.ROUND_ROBIN;
  if (!w || w.durationMs === 0 || !may) return undefined;
  return {
    durationMs: w.durationMs,
    least: w.minimumShare / 10_000,
    aggression: w.aggression / 1_000 || 1,
  };
}

export function compilePolicy(t: wire.L7TrafficPolicy | null | undefined): ClusterPolicy {
  if (!t) return defaultPolicy;
  const { maxConnections, maxPending, maxRequests, maxRetries } = t;
  const budget = t.retryBudget ?? undefined;
  return {
    balancer: balancers[t.balancer] ?? 'least-request',
    hash: hashSource(t.hash),
    tableSize: tableSize(t),
    outlier: outlierRules(t.outlier),
    panicPercent: t.outlier?.minHealthPercent ?? 0,
    breaker: { maxConnections, maxPending, maxRequests, maxRetries, budget },
    connectTimeoutMs: t.connectTimeoutMs,
    maxUses: t.maxRequestsPerConnection,
    idleMs: t.idleTimeoutMs,
    locality: t.locality ?? undefined,
    upgradeH2: t.upgradeH2,
    useClientProtocol: t.useClientProtocol,
    warmup: warmupRules(t),
    connection: connectionRules(t),
    tls: t.tls ? compileTls(t.tls) : undefined,
  };
}

function compileTls(t: wire.L7OutsideTls): NonNullable<ClusterPolicy['tls']> {
  const { certificates, privateKey, subjectAltNames, roots, sni, fault } = t;
  const pair = certificates === '' ? undefined : { certificates, privateKey };
  const id = xxh64(JSON.stringify([sni, subjectAltNames, roots, certificates, fault])).toString(36);
  return { sni, subjectAltNames, roots, pair, fault, id };
}

export function compileCluster(c: wire.L7Cluster): Cluster {
  const service = namespacedHost(c.namespace, c.hostname);
  return {
    key: clusterKey(service, c.port, c.subset),
    service,
    port: c.port,
    subset: c.subset,
    members: c.subset === '' ? undefined : new Set(c.members),
    ...wildcardOf(service, compilePolicy(c.traffic)),
  };
}
