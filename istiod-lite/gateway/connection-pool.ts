// connectionPool, retryBudget and proxyProtocol of a trafficPolicy → how a waypoint keeps connections (waypoint-l7.md 5.3).
import { L7ProxyHeader } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, text } from '../cluster/index.ts';
import { duration, longestMs, ms, whole } from './hosts.ts';

/** Of the system, where a tcpKeepalive says nothing of its own. */
const keepaliveDefaults = { probes: 9, timeMs: 7_200_000, intervalMs: 75_000 };

function tcpKeepalive(v: unknown): Draft<wire.L7TcpKeepalive> | undefined {
  if (v === undefined) return undefined;
  return {
    probes: whole(field(v, 'probes')) || keepaliveDefaults.probes,
    timeMs: ms(field(v, 'time')) || keepaliveDefaults.timeMs,
    intervalMs: ms(field(v, 'interval')) || keepaliveDefaults.intervalMs,
  };
}

function http2Keepalive(v: unknown): Draft<wire.L7Http2Keepalive> | undefined {
  const intervalMs = ms(field(v, 'interval'));
  if (intervalMs === 0) return undefined;
  return { intervalMs, timeoutMs: ms(field(v, 'timeout')) };
}

/** Absent counts as the default, 0 as never: as long as a timer can wait. */
function idleTimeoutMs(http: unknown, tcp: unknown): number {
  const given = duration(field(http, 'idleTimeout')) ?? duration(field(tcp, 'idleTimeout'));
  return given === undefined ? 0 : given || longestMs;
}

export function connectionPool(v: unknown): Draft<wire.L7TrafficPolicy> {
  const tcp = field(v, 'tcp');
  const http = field(v, 'http');
  const limit = (o: unknown, name: string): number => whole(field(o, name));
  const alive = tcpKeepalive(field(tcp, 'tcpKeepalive'));
  const asked = http2Keepalive(field(http, 'http2KeepAlive'));
  return {
    maxConnections: limit(tcp, 'maxConnections'),
    connectTimeoutMs: ms(field(tcp, 'connectTimeout')),
    maxPending: limit(http, 'http1MaxPendingRequests'),
    maxRequests: limit(http, 'http2MaxRequests'),
    maxRetries: limit(http, 'maxRetries'),
    maxRequestsPerConnection: limit(http, 'maxRequestsPerConnection'),
    idleTimeoutMs: idleTimeoutMs(http, tcp),
    tcpIdleTimeoutMs: ms(field(tcp, 'idleTimeout')),
    maxConnectionMs: ms(field(tcp, 'maxConnectionDuration')),
    maxConcurrentStreams: limit(http, 'maxConcurrentStreams'),
    upgradeH2: field(http, 'h2UpgradePolicy') === 'UPGRADE',
    useClientProtocol: field(http, 'useClientProtocol') === true,
    ...(alive && { tcpKeepalive: alive }),
    ...(asked && { http2Keepalive: asked }),
  };
}

export function retryBudget(v: unknown): Draft<wire.L7RetryBudget> | undefined {
  if (v === undefined) return undefined;
  const percent = field(v, 'percent');
  const least = field(v, 'minRetryConcurrency');
  return {
    share: Math.round((typeof percent === 'number' ? percent : 20) * 100),
    minConcurrency: typeof least === 'number' ? whole(least) : 3,
    intervalMs: ms(field(v, 'budgetInterval')),
  };
}

export function proxyHeader(v: unknown): number {
  if (v === undefined) return L7ProxyHeader.NO_HEADER;
  return text(field(v, 'version')) === 'V2' ? L7ProxyHeader.V2 : L7ProxyHeader.V1;
}
