// Values of a trafficPolicy that cannot be read (K9): CRDs other than ours let them through, and what they asked for
// does not happen. Each is told by its place and what stands there. Pure.
import { field, list } from '../cluster/index.ts';
import {
  aCount,
  aDuration,
  anObject,
  aPercent,
  numeric,
  oneOf,
  placed,
  unreadable,
} from './values.ts';

/** `ISTIO_MUTUAL` and `DISABLE` have no effect; one that is not known sends nothing (`outsideTls`). */
export const tlsModes = ['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'];

/** By place; blocks stand before what is in them. */
const values = placed({
  loadBalancer: anObject,
  'loadBalancer.simple': oneOf(
    'UNSPECIFIED',
    'LEAST_CONN',
    'RANDOM',
    'PASSTHROUGH',
    'ROUND_ROBIN',
    'LEAST_REQUEST',
  ),
  'loadBalancer.consistentHash.httpCookie.ttl': aDuration,
  'loadBalancer.warmup': anObject,
  'loadBalancer.warmup.duration': aDuration,
  'loadBalancer.warmup.minimumPercent': aPercent,
  'loadBalancer.warmup.aggression': numeric(1),
  'loadBalancer.warmupDurationSecs': aDuration,
  connectionPool: anObject,
  'connectionPool.tcp': anObject,
  'connectionPool.tcp.maxConnections': aCount,
  'connectionPool.tcp.connectTimeout': aDuration,
  'connectionPool.tcp.idleTimeout': aDuration,
  'connectionPool.tcp.maxConnectionDuration': aDuration,
  'connectionPool.tcp.tcpKeepalive': anObject,
  'connectionPool.tcp.tcpKeepalive.probes': aCount,
  'connectionPool.tcp.tcpKeepalive.time': aDuration,
  'connectionPool.tcp.tcpKeepalive.interval': aDuration,
  'connectionPool.http': anObject,
  'connectionPool.http.http1MaxPendingRequests': aCount,
  'connectionPool.http.http2MaxRequests': aCount,
  'connectionPool.http.maxRequestsPerConnection': aCount,
  'connectionPool.http.maxRetries': aCount,
  'connectionPool.http.maxConcurrentStreams': aCount,
  'connectionPool.http.idleTimeout': aDuration,
  'connectionPool.http.h2UpgradePolicy': oneOf('DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'),
  'connectionPool.http.http2KeepAlive': anObject,
  'connectionPool.http.http2KeepAlive.interval': aDuration,
  'connectionPool.http.http2KeepAlive.timeout': aDuration,
  outlierDetection: anObject,
  'outlierDetection.consecutiveErrors': aCount,
  'outlierDetection.consecutive5xxErrors': aCount,
  'outlierDetection.consecutiveGatewayErrors': aCount,
  'outlierDetection.consecutiveLocalOriginFailures': aCount,
  'outlierDetection.interval': aDuration,
  'outlierDetection.baseEjectionTime': aDuration,
  'outlierDetection.maxEjectionPercent': aPercent,
  'outlierDetection.minHealthPercent': aPercent,
  retryBudget: anObject,
  'retryBudget.percent': aPercent,
  'retryBudget.minRetryConcurrency': aCount,
  'retryBudget.budgetInterval': aDuration,
  proxyProtocol: anObject,
  'proxyProtocol.version': oneOf('V1', 'V2'),
  tls: anObject,
  'tls.mode': oneOf(...tlsModes),
});

/** A sentence for each value of a policy that cannot be read; `prefix` is the policy's place. */
export function unreadableValues(policy: unknown, prefix: string): string[] {
  const out = unreadable(values, policy, prefix);
  const warmup = field(policy, 'loadBalancer', 'warmup');
  const old = field(policy, 'loadBalancer', 'warmupDurationSecs');
  if (anObject(warmup) === undefined && (field(warmup, 'duration') ?? old) === undefined) {
    out.push(`${prefix}.loadBalancer.warmup has no duration`);
  }
  for (const [i, p] of list(field(policy, 'portLevelSettings')).entries()) {
    out.push(...unreadableValues(p, `${prefix}.portLevelSettings[${i}]`));
  }
  return out;
}
