// Istio's TCP metric labels as plain strings, in Istio's order (ztunnel-protocol.md 11.1).
import type { Service } from './service.ts';
import { type Workload, workloadSpiffeId } from './workload.ts';

export const tcpLabelNames = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
  'source_region',
  'source_zone',
  'destination_region',
  'destination_zone',
] as const;

export type TcpLabels = Record<(typeof tcpLabelNames)[number], string>;

export interface TcpLabelFacts {
  readonly reporter: 'source' | 'destination';
  readonly source?: Workload | undefined;
  readonly sourcePrincipal?: string | undefined;
  readonly destination?: Workload | undefined;
  readonly destinationPrincipal?: string | undefined;
  readonly service?: Service | undefined;
  readonly mutualTls: boolean;
  /** `-` until the end of a failed connection. */
  readonly flags: string;
}

const or = (text: string | undefined): string =>
  text === undefined || text === '' ? 'unknown' : text;

/** Missing values are the literal `unknown`. */
export function tcpLabels(f: TcpLabelFacts): TcpLabels {
  const { source: s, destination: d, service } = f;
  return {
    reporter: f.reporter,
    source_workload: or(s?.workloadName),
    source_canonical_service: or(s?.canonicalName),
    source_canonical_revision: or(s?.canonicalRevision),
    source_workload_namespace: or(s?.namespace),
    source_principal: f.mutualTls ? or(f.sourcePrincipal) : 'unknown',
    source_app: or(s?.canonicalName),
    source_version: or(s?.canonicalRevision),
    source_cluster: or(s?.clusterId),
    destination_service: or(service?.hostname),
    destination_service_namespace: or(service?.namespace),
    destination_service_name: or(service?.name),
    destination_workload: or(d?.workloadName),
    destination_canonical_service: or(d?.canonicalName),
    destination_canonical_revision: or(d?.canonicalRevision),
    destination_workload_namespace: or(d?.namespace),
    destination_principal: or(f.destinationPrincipal ?? (d && workloadSpiffeId(d))),
    destination_app: or(d?.canonicalName),
    destination_version: or(d?.canonicalRevision),
    destination_cluster: or(d?.clusterId),
    request_protocol: 'tcp',
    response_flags: f.flags,
    connection_security_policy: f.mutualTls ? 'mutual_tls' : 'unknown',
    source_region: or(s?.locality.region),
    source_zone: or(s?.locality.zone),
    destination_region: or(d?.locality.region),
    destination_zone: or(d?.locality.zone),
  };
}
