// The metrics that ztunnel owns, by Istio's names (ztunnel-protocol.md 11), and ours under `ambient_`.
import type { Counter, Gauge, Metrics } from '../core/telemetry/index.ts';
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
  readonly crlRejections: Counter;
  readonly activeProxies: Gauge;
  readonly pendingProxies: Gauge;
  readonly proxiesStarted: Counter;
  readonly proxiesStopped: Counter;
  readonly handshakes: Counter;
}

export function declareMetrics(metrics: Metrics, version: string): ZtunnelMetrics {
  const tcp = (name: string, help: string): Counter =>
    metrics.counter({ name: `istio_tcp_${name}_total`, help, labels: tcpLabelNames });
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
    crlRejections: metrics.counter({
      name: 'istio_crl_policy_rejections_total',
      help: 'Handshakes refused and tunnels cut because of the revocation list',
      labels: ['reporter'],
    }),
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
  };
}
