// A trafficPolicy of a DestinationRule → what a waypoint carries out (waypoint-l7.md 5.2–5.4). Istio's defaults hold
// where a block exists; what is not carried out is named.
import { L7Balancer } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { dict, field, list, text, texts } from '../cluster/index.ts';
import { connectionPool, proxyHeader, retryBudget } from './connection-pool.ts';
import { each, ms, unknownFields, whole } from './hosts.ts';

/** The sections, which are overridden one by one. */
export const sectionNames = [
  'loadBalancer',
  'connectionPool',
  'outlierDetection',
  'retryBudget',
  'proxyProtocol',
  'tls',
] as const;
export type Sections = { readonly [K in (typeof sectionNames)[number]]?: unknown };

const simple: Readonly<Record<string, number>> = {
  LEAST_REQUEST: L7Balancer.LEAST_REQUEST,
  LEAST_CONN: L7Balancer.LEAST_REQUEST,
  UNSPECIFIED: L7Balancer.LEAST_REQUEST,
  ROUND_ROBIN: L7Balancer.ROUND_ROBIN,
  RANDOM: L7Balancer.RANDOM,
  PASSTHROUGH: L7Balancer.PASSTHROUGH,
};

function hashKey(h: unknown): Draft<wire.L7HashKey> | undefined {
  const header = text(field(h, 'httpHeaderName'));
  if (header !== '') return { header: header.toLowerCase() };
  const query = text(field(h, 'httpQueryParameterName'));
  if (query !== '') return { query };
  if (field(h, 'useSourceIp') === true) return { sourceIp: true };
  const cookie = field(h, 'httpCookie');
  if (cookie === undefined) return undefined;
  const ttl = field(cookie, 'ttl');
  const [name, path] = [text(field(cookie, 'name')), text(field(cookie, 'path'))];
  const attributes = each(cookie, 'attributes')
    .map((a) => ({ name: text(field(a, 'name')), value: text(field(a, 'value')) }))
    .filter(({ name, value }) => /^[\w-]+$/.test(name) && /^[^;\p{Cc}]*$/u.test(value));
  return { cookie: { name, path, generate: ttl !== undefined, ttlMs: ms(ttl), attributes } };
}

function balancing(v: unknown): Draft<wire.L7TrafficPolicy> {
  const consistent = field(v, 'consistentHash');
  const hash = consistent === undefined ? undefined : hashKey(consistent);
  if (!hash) return { balancer: simple[text(field(v, 'simple'))] ?? L7Balancer.LEAST_REQUEST };
  const maglev = field(consistent, 'maglev');
  if (maglev !== undefined) {
    return { balancer: L7Balancer.MAGLEV, tableSize: whole(field(maglev, 'tableSize')), hash };
  }
  const least = field(consistent, 'ringHash', 'minimumRingSize');
  const tableSize = whole(least ?? field(consistent, 'minimumRingSize'));
  return { balancer: L7Balancer.RING_HASH, tableSize, hash };
}

function locality(v: unknown): Draft<wire.L7Locality> | undefined {
  if (v === undefined) return undefined;
  const percents = (d: unknown): Record<string, number> =>
    Object.fromEntries(
      Object.entries((field(d, 'to') ?? {}) as Record<string, unknown>).map(([k, p]) => [
        k,
        whole(p),
      ]),
    );
  return {
    disabled: field(v, 'enabled') === false,
    distribute: each(v, 'distribute').map((d) => ({
      from: text(field(d, 'from')),
      to: percents(d) as Draft<wire.L7Distribute>['to'],
    })),
    failover: each(v, 'failover').map((f) => ({
      from: text(field(f, 'from')),
      to: text(field(f, 'to')),
    })),
    priority: [...texts(field(v, 'failoverPriority'))],
  };
}

/** Its old name says the duration alone. */
function warmup(v: unknown): Draft<wire.L7Warmup> | undefined {
  const w = field(v, 'warmup');
  const durationMs = ms(field(w, 'duration') ?? field(v, 'warmupDurationSecs'));
  if (durationMs === 0) return undefined;
  const percent = field(w, 'minimumPercent');
  const given = field(w, 'aggression');
  return {
    durationMs,
    minimumShare: Math.round(typeof percent === 'number' ? within(percent, 100) * 100 : 1_000),
    aggression:
      typeof given === 'number' && given >= 1 ? Math.round(within(given, 1e6) * 1_000) : 1_000,
  };
}

const within = (n: number, most: number): number => Math.min(Math.max(0, n), most);

function outlier(v: unknown): Draft<wire.L7OutlierDetection> | undefined {
  if (v === undefined) return undefined;
  const of = (name: string, fallback: number): number => {
    const given = field(v, name);
    return typeof given === 'number' ? Math.max(0, Math.floor(given)) : fallback;
  };
  return {
    consecutive_5xx: of('consecutive5xxErrors', of('consecutiveErrors', 5)),
    consecutiveGateway: of('consecutiveGatewayErrors', 0),
    consecutiveLocal: of('consecutiveLocalOriginFailures', 5),
    splitLocal: field(v, 'splitExternalLocalOriginErrors') === true,
    intervalMs: ms(field(v, 'interval')) || 10_000,
    baseEjectionMs: ms(field(v, 'baseEjectionTime')) || 30_000,
    maxEjectionPercent: of('maxEjectionPercent', 10),
    minHealthPercent: of('minHealthPercent', 0),
  };
}

export function trafficPolicy(s: Sections): Draft<wire.L7TrafficPolicy> {
  const grows = warmup(s.loadBalancer);
  const places = locality(field(s.loadBalancer, 'localityLbSetting'));
  const ejects = outlier(s.outlierDetection);
  const retries = retryBudget(s.retryBudget);
  return {
    ...balancing(s.loadBalancer),
    ...connectionPool(s.connectionPool),
    proxyHeader: proxyHeader(s.proxyProtocol),
    ...(places && { locality: places }),
    ...(grows && { warmup: grows }),
    ...(ejects && { outlier: ejects }),
    ...(retries && { retryBudget: retries }),
  };
}

const knownIn: readonly (readonly [readonly string[], readonly string[]])[] = [
  [[], [...sectionNames, 'portLevelSettings']],
  [['tls'], ['mode', 'credentialName', 'sni', 'subjectAltNames', 'caCertificates']],
  [
    ['loadBalancer'],
    ['simple', 'consistentHash', 'localityLbSetting', 'warmup', 'warmupDurationSecs'],
  ],
  [
    ['connectionPool', 'tcp'],
    ['maxConnections', 'connectTimeout', 'idleTimeout', 'tcpKeepalive', 'maxConnectionDuration'],
  ],
  [['proxyProtocol'], ['version']],
  [['retryBudget'], ['percent', 'minRetryConcurrency', 'budgetInterval']],
  [
    ['connectionPool', 'tcp', 'tcpKeepalive'],
    ['probes', 'time', 'interval'],
  ],
  [
    ['connectionPool', 'http', 'http2KeepAlive'],
    ['interval', 'timeout'],
  ],
  [
    ['connectionPool', 'http'],
    [
      'http1MaxPendingRequests',
      'http2MaxRequests',
      'maxRequestsPerConnection',
      'maxRetries',
      'idleTimeout',
      'h2UpgradePolicy',
      'useClientProtocol',
      'maxConcurrentStreams',
      'http2KeepAlive',
    ],
  ],
  [
    ['outlierDetection'],
    [
      'consecutiveErrors',
      'consecutive5xxErrors',
      'consecutiveGatewayErrors',
      'splitExternalLocalOriginErrors',
      'consecutiveLocalOriginFailures',
      'interval',
      'baseEjectionTime',
      'maxEjectionPercent',
      'minHealthPercent',
    ],
  ],
];

/** Balancers under which weights may grow. */
const warming = ['', 'UNSPECIFIED', 'LEAST_REQUEST', 'LEAST_CONN', 'ROUND_ROBIN'];

/** Labels that failoverPriority may name here: those a workload's place is known by. */
const priorityLabels = new Set([
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'topology.istio.io/subzone',
  'topology.istio.io/network',
  'topology.istio.io/cluster',
  'kubernetes.io/hostname',
]);

/** What a waypoint builds at most (`waypoint/balance`). */
const maxRing = 1 << 16;
const maxTable = 1_048_573;

function isPrime(n: number): boolean {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return n > 1;
}

/** Parts of a trafficPolicy that are not carried out, by their place in it. */
export function unsupportedParts(policy: unknown, prefix = 'trafficPolicy'): string[] {
  const out: string[] = [];
  for (const [path, known] of knownIn) {
    for (const name of unknownFields(field(policy, ...path), [...known, 'port'])) {
      out.push([prefix, ...path, name].join('.'));
    }
  }
  const priority = texts(field(policy, 'loadBalancer', 'localityLbSetting', 'failoverPriority'));
  const odd = priority.find((p) => !priorityLabels.has(p));
  if (odd !== undefined)
    out.push(`${prefix}.loadBalancer.localityLbSetting.failoverPriority[${odd}]`);
  const hash = field(policy, 'loadBalancer', 'consistentHash');
  const by = hash === undefined ? text(field(policy, 'loadBalancer', 'simple')) : 'consistentHash';
  if (warmup(field(policy, 'loadBalancer')) && !warming.includes(by)) {
    out.push(`${prefix}.loadBalancer.warmup with ${by}`);
  }
  const ring = whole(field(hash, 'ringHash', 'minimumRingSize') ?? field(hash, 'minimumRingSize'));
  const table = whole(field(hash, 'maglev', 'tableSize'));
  const where = `${prefix}.loadBalancer.consistentHash`;
  if (ring > maxRing) out.push(`${where}: a ring of more than ${maxRing} points`);
  if (table !== 0 && (table > maxTable || !isPrime(table))) {
    out.push(`${where}.maglev.tableSize ${table}, no prime up to ${maxTable},`);
  }
  for (const [i, p] of list(field(policy, 'portLevelSettings')).entries()) {
    out.push(...unsupportedParts(p, `${prefix}.portLevelSettings[${i}]`));
  }
  return out;
}

export const subsetLabels = (s: unknown) => dict(field(s, 'labels'));
