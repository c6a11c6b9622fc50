// Environment → WaypointConfig: Istio's names where it has one. Every mistake is reported together; nothing
// here reads a file, but for this program’s own version, or a clock.
import { type Cidr, parseAuthority, parseCidr, type Result } from '../core/base/index.ts';
import { EnvReader, type EnvVariable, packageVersion } from '../core/runtime/index.ts';

export interface Listen {
  readonly host: string;
  readonly port: number;
}

export interface WaypointConfig {
  readonly trustDomain: string;
  /** Trust domains that count as ours too; only explicit ones (design.md 6.4). */
  readonly trustDomainAliases: readonly string[];
  readonly clusterId: string;
  readonly network: string;
  readonly role: 'waypoint' | 'ingress';
  /** Callers of an ingress gateway exchange keys by X25519MLKEM768 or not at all. */
  readonly hybridOnly: boolean;
  readonly gatewayName: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podIp: string;
  readonly serviceAccount: string;
  readonly xdsAddress: string;
  readonly xdsRootCa: string;
  readonly xdsServerName: string;
  readonly caAddress: string;
  readonly caRootCa: string;
  readonly caServerName: string;
  readonly authToken: string;
  readonly secretTtlSeconds: number;
  /** Where tunnels come in. */
  readonly hbone: Listen;
  /** How long first bytes are waited for where the protocol is not declared; then it is TCP. */
  readonly detectMs: number;
  readonly poolStreams: number;
  readonly poolUnusedMs: number;
  /** Of names under wildcard hosts. */
  readonly names: { readonly servers: readonly string[]; readonly blocked: readonly Cidr[] };
  readonly keepalive: { readonly enabled: boolean; readonly idleMs: number };
  readonly drainMs: number;
  /** Request body kept for a retry. */
  readonly retryBufferBytes: number;
  /** Plugins for every service, beside those of the configuration. */
  readonly pluginFiles: readonly string[];
  readonly pluginTimeoutMs: number;
  readonly accessLog: boolean;
  readonly admin: Listen;
  readonly stats: Listen;
  readonly readiness: Listen;
  readonly logLevel: string;
  readonly logFormat: 'plain' | 'json';
  /** Wait for a slow reader of the log instead of dropping lines. */
  readonly logLossless: boolean;
  readonly version: string;
}

type Env = Readonly<Record<string, string | undefined>>;

const defaultIstiod = 'istiod.istio-system.svc:15012';
const rootCa = './var/run/secrets/istio/root-cert.pem';
const port = { min: 0, max: 65_535 };

/** All faults together; the list of variables asked for is the source of docs/reference/config.md. */
export function readConfig(env: Env): {
  config: Result<WaypointConfig>;
  asked: readonly EnvVariable[];
} {
  const r = new EnvReader(env);
  const xdsAddress = address(r, 'XDS_ADDRESS', defaultIstiod, 'control plane, host:port');
  const xdsRootCa = r.text('XDS_ROOT_CA', rootCa, 'PEM file of roots for the control plane');
  const xdsServerName = r.text('ALT_XDS_HOSTNAME', '', 'name its certificate must have');
  const config: WaypointConfig = {
    ...whoWeAre(r),
    xdsAddress,
    xdsRootCa,
    xdsServerName,
    caAddress: address(r, 'CA_ADDRESS', xdsAddress, 'certificate authority, host:port'),
    caRootCa: r.text('CA_ROOT_CA', xdsRootCa, 'PEM file of roots for the CA'),
    caServerName: r.text('ALT_CA_HOSTNAME', xdsServerName, 'name the CA certificate must have'),
    authToken: r.text(
      'AUTH_TOKEN',
      './var/run/secrets/tokens/istio-token',
      'file with the bearer token for control plane and CA',
    ),
    secretTtlSeconds: Math.round(
      r.duration('SECRET_TTL', 86_400_000, 'lifetime asked for certificates') / 1000,
    ),
    hybridOnly:
      r.choice(
        'COMPLIANCE_POLICY',
        ['none', 'pqc'],
        'none',
        'pqc: callers of an ingress gateway exchange keys by X25519MLKEM768 or not at all',
      ) === 'pqc',
    hbone: listen(r, 'BIND_ADDRESS', '0.0.0.0', 'HBONE_PORT', 15_008, 'tunnels come in'),
    detectMs: r.duration(
      'PROTOCOL_DETECTION_TIMEOUT',
      100,
      'how long the first bytes of an undeclared protocol are waited for',
    ),
    poolStreams: r.integer('POOL_MAX_STREAMS_PER_CONNECTION', 100, 'streams per tunnel', {
      min: 1,
      max: 10_000,
    }),
    poolUnusedMs: r.duration('POOL_UNUSED_RELEASE_TIMEOUT', 300_000, 'unused tunnels close after'),
    names: names(r),
    keepalive: {
      enabled: r.flag('KEEPALIVE_ENABLED', true, 'TCP keepalive'),
      idleMs: r.duration('KEEPALIVE_TIME', 180_000, 'idle time before the first probe'),
    },
    drainMs: drainTime(r),
    retryBufferBytes: r.integer('RETRY_BUFFER_BYTES', 1 << 18, 'request body kept for a retry', {
      min: 0,
      max: 1 << 26,
    }),
    pluginFiles: r.list(
      'PLUGIN_FILES',
      [],
      'files of plugins for every service, in this order; they fail closed',
    ),
    pluginTimeoutMs: r.duration('PLUGIN_TIMEOUT', 20, 'time for one call of these plugins'),
    accessLog: r.flag('ACCESS_LOG', true, 'one line per request'),
    admin: listen(r, 'ADMIN_ADDRESS', '127.0.0.1', 'ADMIN_PORT', 15_000, 'admin is served'),
    stats: listen(r, 'STATS_ADDRESS', '0.0.0.0', 'STATS_PORT', 15_020, 'metrics are served'),
    readiness: listen(
      r,
      'READINESS_ADDRESS',
      '0.0.0.0',
      'READINESS_PORT',
      15_021,
      'readiness is served',
    ),
    logLevel: r.text('LOG_LEVEL', 'info', 'log level, also scope=level'),
    logFormat: r.choice('LOG_FORMAT', ['plain', 'json'], 'plain', 'log lines'),
    logLossless: r.flag(
      'LOG_LOSSLESS',
      false,
      'wait for a slow reader of the log instead of dropping lines',
    ),
    version:
      r.text(
        'ISTIO_META_ISTIO_VERSION',
        '',
        'version that is reported; empty = that of this program',
      ) || packageVersion(),
  };
  return { config: r.result(Object.freeze(config)), asked: r.asked };
}

/** Of this machine, of its link, of many, of nobody; those that hosts of entries are given; metadata of clouds. */
const blockedAddresses = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/128',
  '::1/128',
  'fe80::/10',
  'ff00::/8',
  '2001:2::/48',
  'fd00:ec2::254/128',
];

function names(r: EnvReader): WaypointConfig['names'] {
  const blocked = r.list(
    'DYNAMIC_DNS_BLOCKED_ADDRESSES',
    blockedAddresses,
    'address blocks that names under wildcard hosts are never called at; pods and services of the mesh never are either',
  );
  const servers = r.list(
    'DYNAMIC_DNS_SERVERS',
    [],
    'name servers, address:port, for names under wildcard hosts; empty = those of the system',
  );
  for (const b of blocked)
    if (!parseCidr(b)) r.fault('DYNAMIC_DNS_BLOCKED_ADDRESSES', `${JSON.stringify(b)} is no block`);
  for (const s of servers) {
    if (parseAuthority(s)?.kind !== 'ip')
      r.fault('DYNAMIC_DNS_SERVERS', `${JSON.stringify(s)} is no address:port`);
  }
  return { servers, blocked: blocked.map(parseCidr).filter((c) => c !== undefined) };
}

function whoWeAre(r: EnvReader) {
  return {
    trustDomain: r.text('TRUST_DOMAIN', 'cluster.local', 'trust domain of this proxy'),
    trustDomainAliases: r.list('TRUST_DOMAIN_ALIASES', [], 'trust domains that count as ours'),
    clusterId: r.text('CLUSTER_ID', 'Kubernetes', 'cluster id for telemetry'),
    network: r.text('NETWORK', '', 'network this proxy is in'),
    role: r.choice(
      'GATEWAY_ROLE',
      ['waypoint', 'ingress'],
      'waypoint',
      'tunnels in for bound services, or ports for callers from outside the mesh',
    ),
    gatewayName: r.text('GATEWAY_NAME', 'waypoint', 'Gateway this pod serves'),
    podName: r.text('POD_NAME', '', 'own pod'),
    podNamespace: r.text('POD_NAMESPACE', 'default', 'own namespace, part of the identity'),
    podIp: r.text('INSTANCE_IP', '', 'own address; calls to endpoints start from it'),
    serviceAccount: r.text('SERVICE_ACCOUNT', 'waypoint', 'own account, part of the identity'),
  };
}

function listen(
  r: EnvReader,
  address: string,
  host: string,
  name: string,
  fallback: number,
  what: string,
): Listen {
  return {
    host: r.text(address, host, `address at which ${what}`),
    port: r.integer(name, fallback, `port at which ${what}`, port),
  };
}

/** `https://host:port` or `host:port`; nothing but TLS is spoken. */
function address(r: EnvReader, name: string, fallback: string, help: string): string {
  const text = r.text(name, fallback, help);
  const bare = text.startsWith('https://') ? text.slice('https://'.length) : text;
  if (!parseAuthority(bare)) r.fault(name, `must be host:port, is ${JSON.stringify(text)}`);
  return bare;
}

function drainTime(r: EnvReader): number {
  const grace = r.integer('TERMINATION_GRACE_PERIOD_SECONDS', 0, 'grace period of the pod', {
    min: 0,
    max: 86_400,
  });
  const margin = grace > 10 ? grace - 5 : Math.max(1, grace - 1);
  const fallback = grace === 0 ? 5_000 : margin * 1000;
  return r.duration('CONNECTION_TERMINATION_DEADLINE', fallback, 'how long requests may drain');
}
