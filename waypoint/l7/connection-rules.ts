// How single connections to endpoints are kept (waypoint-l7.md 5.3): prepared from the resource.
import { L7ProxyHeader } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Keepalive } from '../../core/runtime/index.ts';

export interface ConnectionRules {
  /** Of plain connections; absent = as the program is configured. */
  readonly keepalive: Keepalive | undefined;
  /** What each connection to the application begins with. */
  readonly header: 'V1' | 'V2' | undefined;
  /** Requests at once on one HTTP/2 connection. */
  readonly maxStreams: number;
  /** PING on HTTP/2 connections to applications; absent = none. */
  readonly ping: { readonly everyMs: number; readonly limitMs: number } | undefined;
  /** A connection that old takes nothing new; an opaque one ends. 0 = any age. */
  readonly maxAgeMs: number;
  /** An opaque connection without a byte for so long ends; 0 = never. */
  readonly quietMs: number;
}

const streamsAtMost = 100;
const pingLimitMs = 10_000;

export const defaultConnection: ConnectionRules = {
  keepalive: undefined,
  header: undefined,
  maxStreams: streamsAtMost,
  ping: undefined,
  maxAgeMs: 0,
  quietMs: 0,
};

/** What Linux takes: beyond it nothing would be set at all. */
const mostProbes = 127;
const mostSeconds = 32_767;
const seconds = (ms: number): number =>
  Math.min(Math.max(Math.round(ms / 1000), 1), mostSeconds) * 1000;

export function connectionRules(t: wire.L7TrafficPolicy): ConnectionRules {
  const { tcpKeepalive: k, http2Keepalive: p } = t;
  const headers: Readonly<Record<number, 'V1' | 'V2'>> = {
    [L7ProxyHeader.V1]: 'V1',
    [L7ProxyHeader.V2]: 'V2',
  };
  return {
    keepalive: k
      ? {
          enabled: true,
          idleMs: seconds(k.timeMs),
          intervalMs: seconds(k.intervalMs),
          probes: Math.min(Math.max(k.probes, 1), mostProbes),
        }
      : undefined,
    header: headers[t.proxyHeader],
    maxStreams: Math.min(t.maxConcurrentStreams || streamsAtMost, streamsAtMost),
    ping:
      p && p.intervalMs > 0
        ? { everyMs: p.intervalMs, limitMs: p.timeoutMs || pingLimitMs }
        : undefined,
    maxAgeMs: t.maxConnectionMs,
    quietMs: t.tcpIdleTimeoutMs,
  };
}
