// The metrics a waypoint owns, by Istio's names (waypoint-l7.md 9.1), and ours under `ambient_`.
import { tcpLabelNames } from '../core/model/index.ts';
import { declareHeadroom, type HeadroomMetrics } from '../core/runtime/index.ts';
import type { Counter, Histogram, Metrics } from '../core/telemetry/index.ts';

export interface WaypointMetrics {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
  readonly opened: Counter;
  readonly closed: Counter;
  readonly received: Counter;
  readonly sent: Counter;
  readonly refusals: Counter;
  readonly retries: Counter;
  readonly ejections: Counter;
  readonly handshakes: Counter;
  readonly headroom: HeadroomMetrics;
  readonly checks: Counter;
  readonly marks: Counter;
  readonly rateLimits: Counter;
  readonly pluginCalls: Counter;
  readonly pluginDuration: Histogram;
  readonly pluginRestarts: Counter;
}

const buckets = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
  1_800_000, 3_600_000,
];

const places = ['source_region', 'source_zone', 'destination_region', 'destination_zone'];
/** Istio's order; the regions are ztunnel's alone. */
const shared = tcpLabelNames.filter((n) => !places.includes(n));
export const httpLabelNames = [...shared, 'response_code', 'grpc_response_status'];
export const opaqueLabelNames = shared;

export function declareMetrics(metrics: Metrics, version: string): WaypointMetrics {
  const build = metrics.gauge({
    name: 'istio_build',
    help: 'Istio component build info',
    labels: ['component', 'tag'],
  });
  build.set({ component: 'proxy', tag: version }, 1);
  const http = (name: string, help: string): Histogram =>
    metrics.histogram({ name, help, labels: httpLabelNames, buckets });
  const tcp = (name: string, help: string): Counter =>
    metrics.counter({ name: `istio_tcp_${name}_total`, help, labels: opaqueLabelNames });
  return {
    headroom: declareHeadroom(metrics),
    requests: metrics.counter({
      name: 'istio_requests_total',
      help: 'Requests that ended',
      labels: httpLabelNames,
    }),
    duration: http(
      'istio_request_duration_milliseconds',
      'From the request to the end of its answer',
    ),
    requestBytes: http('istio_request_bytes', 'Body bytes of requests'),
    responseBytes: http('istio_response_bytes', 'Body bytes of answers'),
    opened: tcp('connections_opened', 'Opaque connections opened'),
    closed: tcp('connections_closed', 'Opaque connections closed'),
    received: tcp('received_bytes', 'Bytes from callers on opaque connections'),
    sent: tcp('sent_bytes', 'Bytes to callers on opaque connections'),
    refusals: metrics.counter({
      name: 'ambient_refusals_total',
      help: 'Tunnels, connections and requests refused or failed, by reason',
      labels: ['reporter', 'reason'],
    }),
    retries: metrics.counter({
      name: 'ambient_waypoint_retries_total',
      help: 'Attempts after the first, by what went wrong before',
      labels: ['destination_service', 'after'],
    }),
    ejections: metrics.counter({
      name: 'ambient_waypoint_ejections_total',
      help: 'Endpoints left out for a time, by the kind of their failures',
      labels: ['destination_service', 'after'],
    }),
    checks: metrics.counter({
      name: 'ambient_waypoint_checks_total',
      help: 'Questions to external authorizers, by what came of them: allowed, denied, failed-open, failed-closed',
      labels: ['provider', 'outcome'],
    }),
    marks: metrics.counter({
      name: 'ambient_waypoint_policy_marks_total',
      help: 'Requests and connections that a policy matched without deciding: audit, dry-run-allow, dry-run-deny',
      labels: ['policy', 'as'],
    }),
    rateLimits: metrics.counter({
      name: 'ambient_waypoint_rate_limits_total',
      help: 'Requests under a limit, by what came of them: ok, limited, would-limit, error',
      labels: ['policy', 'limit', 'outcome'],
    }),
    pluginCalls: metrics.counter({
      name: 'ambient_waypoint_plugin_calls_total',
      help: 'Calls of hooks of plugins, by what came of them: ok, replied, failed-open, failed-closed',
      labels: ['plugin', 'hook', 'outcome'],
    }),
    pluginDuration: metrics.histogram({
      name: 'ambient_waypoint_plugin_duration_milliseconds',
      help: 'From the call of a hook to its answer, waiting for earlier calls included',
      labels: ['plugin', 'hook'],
      buckets: [0.25, 0.5, 1, 2.5, 5, 10, 20, 50, 100, 1_000],
    }),
    pluginRestarts: metrics.counter({
      name: 'ambient_waypoint_plugin_restarts_total',
      help: 'Processes of plugins that ended, by why: overrun, memory, cpu, protocol, exit, broken',
      labels: ['plugin', 'why'],
    }),
    handshakes: metrics.counter({
      name: 'ambient_tls_handshakes_total',
      help: 'TLS handshakes that succeeded',
      labels: ['reporter'],
    }),
  };
}
