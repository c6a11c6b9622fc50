// The metrics that ztunnel owns, by Istio's names (ztunnel-protocol.md 11), and ours under `ambient_`.
import type { Counter, Gauge, Histogram, Metrics } from '../core/telemetry/index.ts';
import { declareHeadroom, type HeadroomMetrics } from '../core/runtime/index.ts';
import { tcpLabelNames } from '../core/model/index.ts';

export interface ZtunnelMetrics {
  readonly opened: Counter;
  readonly closed: Counter;
  readonly failed: Counter;
  /** Client → server payload. */
  readonly received: Counter;
  /** Server → client payload. */
  readonly sent: Counter;
  readonly socketsOpen: Gauge;
  /** Everything that was refused, early refusals included; labels reporter, reason. */
  readonly refusals: Counter;
  /** Outbound connections to addresses nothing claims; label mode. */
  readonly unregistered: Counter;
  readonly crlRejections: Counter;
  readonly headroom: HeadroomMetrics;
  readonly activeProxies: Gauge;
  readonly pendingProxies: Gauge;
  readonly proxiesStarted: Counter;
  readonly proxiesStopped: Counter;
  readonly handshakes: Counter;
  readonly dnsRequests: Counter;
  readonly dnsUpstreamRequests: Counter;
  /** An answer without records counts too. */
  readonly dnsUpstreamFailures: Counter;
  readonly dnsUpstreamSeconds: Histogram;
}

const dnsLabels = [
  'request_query_type',
  'request_protocol',
  'source_canonical_service',
  'source_canonical_revision',
];

export function declareMetrics(metrics: Metrics, version: string): ZtunnelMetrics {
  const tcp = (name: string, help: string): Counter =>
    metrics.counter({ name: `istio_tcp_${name}_total`, help, labels: tcpLabelNames });
  const dns = (name: string, help: string): Counter =>
    metrics.counter({ name: `istio_dns_${name}_total`, help, labels: dnsLabels });
  metrics
    .gauge({
      name: 'istio_build',
      help: 'Istio component build info',
      labels: ['component', 'tag'],
    })
    .set({ component: 'ztunnel', tag: version }, 1);
  return {
    opened: tcp('connections_opened', 'The total number of TCP connections opened'),
    closed: tcp('connections_closed', 'The total number of TCP connections closed'),
    failed: tcp('connections_failed', 'The total number of TCP connections that ended with a flag'),
    received: tcp('received_bytes', 'The size of total bytes received during request'),
    sent: tcp('sent_bytes', 'The size of total bytes sent during response'),
    socketsOpen: metrics.gauge({
      name: 'istio_tcp_sockets_open',
      help: 'Sockets open now',
      labels: ['reporter'],
    }),
    refusals: metrics.counter({
      name: 'ambient_refusals_total',
      help: 'Connections refused or failed, by reason',
      labels: ['reporter', 'reason'],
    }),
    unregistered: metrics.counter({
      name: 'ambient_egress_unregistered_total',
      help: 'Outbound connections passed on to addresses that nothing in the mesh claims',
      labels: ['mode'],
    }),
    crlRejections: metrics.counter({
      name: 'istio_crl_policy_rejections_total',
      help: 'Handshakes refused and tunnels cut because of the revocation list',
      labels: ['reporter'],
    }),
    headroom: declareHeadroom(metrics),
    activeProxies: metrics.gauge({
      name: 'workload_manager_active_proxy_count',
      help: 'Pods whose proxies run',
    }),
    pendingProxies: metrics.gauge({
      name: 'workload_manager_pending_proxy_count',
      help: 'Pods whose proxies could not be started yet',
    }),
    proxiesStarted: metrics.counter({
      name: 'workload_manager_proxies_started_total',
      help: 'Pod proxies started',
    }),
    proxiesStopped: metrics.counter({
      name: 'workload_manager_proxies_stopped_total',
      help: 'Pod proxies stopped',
    }),
    handshakes: metrics.counter({
      name: 'ambient_tls_handshakes_total',
      help: 'TLS handshakes that succeeded',
      labels: ['reporter'],
    }),
    dnsRequests: dns('requests', 'The total number of DNS requests'),
    dnsUpstreamRequests: dns('upstream_requests', 'The total number of DNS requests forwarded'),
    dnsUpstreamFailures: dns(
      'upstream_failures',
      'The total number of forwarded DNS requests that found nothing',
    ),
    dnsUpstreamSeconds: metrics.histogram({
      name: 'istio_dns_upstream_request_duration_seconds',
      help: 'How long forwarded DNS requests took',
      labels: dnsLabels,
      buckets: [0.0005, 0.001, 0.01, 0.1, 1, 5],
    }),
  };
}
