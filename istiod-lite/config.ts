// Environment → configuration of the control plane, all mistakes reported together.
import type { Result } from '../core/base/index.ts';
import { type LabelRequirement, readLabelSelector } from '../core/kube/index.ts';
import type { RateLimitPlan } from './ca/rate-limit.ts';
import { EnvReader, type EnvVariable } from '../core/runtime/index.ts';

export interface IstiodConfig {
  readonly bindAddress: string;
  readonly xdsPort: number;
  readonly monitoringPort: number;
  readonly httpPort: number;
  readonly namespace: string;
  /** Name of this replica; the same after a restart of its container. */
  readonly podName: string;
  readonly rootNamespace: string;
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  readonly clusterDomain: string;
  /** Where an operator's CA may be mounted. */
  readonly caDirectory: string;
  /** Certificates that one caller may have issued. */
  readonly caRate: RateLimitPlan;
  readonly network: string;
  readonly revision: string;
  readonly kubeconfig: string | undefined;
  /** `namespace/serviceaccount` of node proxies that may ask for other identities. */
  readonly trustedNodeAccounts: readonly string[];
  readonly tokenAudiences: readonly string[];
  /** Files: a Deployment, then merge patches over it. */
  readonly waypointTemplate: readonly string[];
  /** Empty = the template's. */
  readonly waypointImage: string;
  /** TLS of wildcard hosts is served by waypoints. */
  readonly wildcardTls: boolean;
  /** Blocks that key sets of token issuers are never fetched from. */
  readonly blockedKeyAddresses: readonly string[];
  /** Namespaces that are looked at; none = all. */
  readonly discoverySelector: readonly LabelRequirement[];
  readonly debounceQuietMs: number;
  readonly debounceMaxMs: number;
  readonly logLevel: string;
  readonly logFormat: 'plain' | 'json';
  /** Wait for a slow reader of the log instead of dropping lines. */
  readonly logLossless: boolean;
}

const portRange = { min: 0, max: 65_535 };

function readSelector(r: EnvReader): LabelRequirement[] {
  const name = 'DISCOVERY_SELECTOR';
  const text = r.text(name, '', 'Label selector of namespaces to look at; empty = all of them.');
  try {
    return readLabelSelector(text);
  } catch (error) {
    r.fault(name, error instanceof Error ? error.message : String(error));
    return [];
  }
}

function read(r: EnvReader): IstiodConfig {
  const namespace = r.text('POD_NAMESPACE', 'istio-system', 'Namespace the control plane runs in.');
  return {
    bindAddress: r.text('BIND_ADDRESS', '::', 'Address every listener binds.'),
    xdsPort: r.integer('XDS_PORT', 15_012, 'Port of xDS and the CA over TLS.', portRange),
    monitoringPort: r.integer(
      'MONITORING_PORT',
      15_014,
      'Port of metrics and debug pages.',
      portRange,
    ),
    httpPort: r.integer('HTTP_PORT', 8080, 'Port of readiness and debug pages.', portRange),
    namespace,
    podName: r.text('POD_NAME', '', 'Name of this replica in the leader’s lease; empty = made up.'),
    rootNamespace: r.text(
      'ROOT_NAMESPACE',
      namespace,
      'Namespace whose policies hold for the mesh.',
    ),
    clusterId: r.text('CLUSTER_ID', 'Kubernetes', 'Name of this cluster.'),
    trustDomain: r.text('TRUST_DOMAIN', 'cluster.local', 'Trust domain of every identity.'),
    trustDomainAliases: r.list(
      'TRUST_DOMAIN_ALIASES',
      [],
      'Other trust domains whose identities are issued on request, while a mesh is renamed.',
    ),
    clusterDomain: r.text('CLUSTER_DOMAIN', 'cluster.local', 'DNS domain of services.'),
    caDirectory: r.text(
      'ROOT_CA_DIR',
      '/etc/cacerts',
      'Directory of a plugged-in CA, if there is one.',
    ),
    caRate: {
      perSecond: r.integer(
        'CA_ISSUANCE_PER_SECOND',
        50,
        'Certificates a second that one caller may have issued.',
        {
          min: 1,
          max: 100_000,
        },
      ),
      burst: r.integer(
        'CA_ISSUANCE_BURST',
        2_000,
        'Certificates that one caller may have issued at once.',
        {
          min: 1,
          max: 1_000_000,
        },
      ),
    },
    network: r.text('NETWORK', '', 'Network of this cluster’s pods.'),
    revision: r.text('REVISION', 'default', 'Revision this control plane answers for.'),
    kubeconfig: r.optional('KUBECONFIG', 'Kubeconfig; absent = the pod’s own account.'),
    trustedNodeAccounts: r.list(
      'CA_TRUSTED_NODE_ACCOUNTS',
      [`${namespace}/ztunnel`],
      'namespace/serviceaccount list that may ask for the identities of pods on their node.',
    ),
    tokenAudiences: r.list(
      'TOKEN_AUDIENCES',
      ['istio-ca'],
      'Audiences a caller’s token must have.',
    ),
    waypointTemplate: r.list(
      'WAYPOINT_TEMPLATE',
      ['manifests/waypoint/deployment.yaml'],
      'Files with the Deployment that a Gateway is served by: one, then merge patches over it; relative to the package.',
    ),
    blockedKeyAddresses: r.list(
      'BLOCKED_CIDRS_IN_JWKS_URIS',
      ['169.254.0.0/16', 'fe80::/10', '127.0.0.0/8', '::1/128', '0.0.0.0/8', '::/128'],
      'Address blocks that key sets (jwksUri) are never fetched from; the control plane’s own addresses never are either.',
    ),
    wildcardTls: r.flag(
      'ENABLE_WILDCARD_HOST_SERVICE_ENTRIES_FOR_TLS',
      false,
      'Waypoints serve TLS of wildcard hosts, by the server name that callers send and can forge.',
    ),
    waypointImage: r.text('WAYPOINT_IMAGE', '', 'Image of waypoints; empty = the template’s.'),
    discoverySelector: readSelector(r),
    debounceQuietMs: r.duration(
      'PILOT_DEBOUNCE_AFTER',
      100,
      'Quiet time before changes are pushed.',
    ),
    debounceMaxMs: r.duration('PILOT_DEBOUNCE_MAX', 10_000, 'Longest time changes wait.'),
    logLevel: r.text('LOG_LEVEL', 'info', 'Log level, or scope=level list.'),
    logFormat: r.choice('LOG_FORMAT', ['plain', 'json'], 'plain', 'Form of log lines.'),
    logLossless: r.flag(
      'LOG_LOSSLESS',
      false,
      'wait for a slow reader of the log instead of dropping lines',
    ),
  };
}

export function readConfig(
  env: Readonly<Record<string, string | undefined>>,
): Result<IstiodConfig> {
  const r = new EnvReader(env);
  return r.result(Object.freeze(read(r)));
}

/** Every variable this component reads, for docs/config.md. */
export function configVariables(): readonly EnvVariable[] {
  const r = new EnvReader({});
  read(r);
  return r.asked;
}
