// The metrics the control plane owns, by name; Istio's names where it has one.
import { createMetrics } from '../core/telemetry/index.ts';

export type IstiodMetrics = ReturnType<typeof istiodMetrics>;

export function istiodMetrics() {
  const registry = createMetrics();
  return {
    registry,
    xdsClients: registry.gauge({ name: 'pilot_xds', help: 'Connected xDS streams' }),
    xdsPushes: registry.counter({
      name: 'pilot_xds_pushes',
      help: 'xDS responses sent, by type',
      labels: ['type'],
    }),
    xdsRejects: registry.counter({
      name: 'pilot_total_xds_rejects',
      help: 'xDS responses a client refused, by type',
      labels: ['type'],
    }),
    denied: registry.counter({
      name: 'ambient_control_refusals_total',
      help: 'Calls to the control plane that were refused, by service and reason',
      labels: ['service', 'reason'],
    }),
    csrs: registry.counter({
      name: 'citadel_server_csr_count',
      help: 'Certificate requests received',
    }),
    issued: registry.counter({
      name: 'citadel_server_success_cert_issuance_count',
      help: 'Certificates issued',
    }),
    caRefused: registry.counter({
      name: 'ambient_ca_replacements_refused_total',
      help: 'Changes of the CA that would have failed requests and were not taken',
    }),
    rootExpiry: registry.gauge({
      name: 'citadel_server_root_cert_expiry_timestamp',
      help: 'End of the root certificate, seconds since the epoch',
    }),
    translate: registry.histogram({
      name: 'ambient_translate_seconds',
      help: 'Time of one translation of changes',
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2],
    }),
    resources: registry.gauge({
      name: 'ambient_resources',
      help: 'Resources in the current snapshot, by type',
      labels: ['type'],
    }),
  };
}
