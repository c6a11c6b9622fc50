// Environment → ZtunnelConfig: Istio's names (ztunnel-protocol.md 14.1) and a few of our own. Every
// mistake is reported together; nothing here reads a file, but for this program’s own version, or a clock.
import { bad, ok, parseAuthority, type Result } from '../core/base/index.ts';
import { EnvReader, type EnvVariable, packageVersion } from '../core/runtime/index.ts';
import { type EgressMode, egressModes } from './outbound/plan.ts';

export interface ZtunnelConfig {
  readonly proxyMode: 'addressed' | 'shared';
  readonly network: string;
  /** What becomes of traffic to addresses that nothing in the mesh claims. */
  readonly egress: EgressMode;
  /** Empty = every workload counts as local. */
  readonly nodeName: string;
  readonly clusterId: string;
  readonly trustDomain: string;
  /** Trust domains that count as ours too; only explicit ones (design.md 6.4). */
  readonly trustDomainAliases: readonly string[];
  readonly podName: string;
  readonly podNamespace: string;
  readonly podIp: string;
  readonly serviceAccount: string;
  /** Empty = no control plane: the local file alone. */
  readonly xdsAddress: string;
  /** Istio's local xDS file, read once before the stream; empty = none. */
  readonly localXdsPath: string;
  readonly xdsRootCa: string;
  readonly xdsServerName: string;
  readonly caAddress: string;
  readonly caRootCa: string;
  readonly caServerName: string;
  /** Path of the bearer token. */
  readonly authToken: string;
  readonly secretTtlSeconds: number;
  /** Unix socket of the node agent. */
  readonly inpodUds: string;
  /** Sockets in pods' namespaces (`shared`). */
  readonly inpod: {
    /** SO_MARK of every socket; the rules in the pods exempt it. */
    readonly mark: number;
    readonly reusePort: boolean;
    /** Whether applications see their clients' addresses. */
    readonly keepSource: 'no' | 'try' | 'must';
    readonly ipv6: boolean;
  };
  readonly socks5: boolean;
  /** DNS on 15053 of each pod (`shared`). */
  readonly dns: {
    readonly enabled: boolean;
    readonly clusterDomain: string;
    readonly preferredNamespace: string;
    /** Whose name servers are asked for names outside the mesh. */
    readonly resolvConf: string;
  };
  readonly responseBaggage: boolean;
  readonly crlPath: string;
  readonly poolStreams: number;
  readonly poolUnusedMs: number;
  readonly http2: {
    readonly streamWindow: number;
    readonly connectionWindow: number;
    readonly frameSize: number;
  };
  readonly keepalive: { readonly enabled: boolean; readonly idleMs: number };
  /** How long open connections may go on after a stop signal. */
  readonly drainMs: number;
  /** Connections one pod may have open through this proxy, each direction. */
  readonly maxConnectionsPerPod: number;
  readonly admin: Listen;
  readonly stats: Listen;
  readonly readiness: Listen;
  readonly logLevel: string;
  readonly logFormat: 'plain' | 'json';
  /** Wait for a slow reader of the log instead of dropping lines. */
  readonly logLossless: boolean;
  readonly version: string;
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

type Env = Readonly<Record<string, string | undefined>>;

const defaultIstiod = 'istiod.istio-system.svc:15012';
const rootCa = './var/run/secrets/istio/root-cert.pem';

/** All faults together; the list of variables asked for is the source of docs/config.md. */
export function readConfig(env: Env): {
  config: Result<ZtunnelConfig>;
  asked: readonly EnvVariable[];
} {
  const r = new EnvReader(env);
  const port = { min: 0, max: 65535 };
  const mode = r.choice(
    'PROXY_MODE',
    ['addressed', 'shared', 'dedicated'],
    'shared',
    'how pods are captured: `shared`, each in its network namespace, or `addressed`, where a pod is an address of this host',
  );
  if (mode === 'dedicated') {
    r.fault('PROXY_MODE', 'dedicated is not carried by this build; set PROXY_MODE=shared');
  }
  const cluster = r.text('CLUSTER_ID', 'Kubernetes', 'cluster id for telemetry');
  const istiod = address(r, 'XDS_ADDRESS', defaultIstiod, 'control plane, host:port');
  // Istio's way to say: no xDS at all (ztunnel-protocol.md 7.1).
  const xdsAddress = env['XDS_ADDRESS'] === '' ? '' : istiod;
  const xdsRootCa = r.text('XDS_ROOT_CA', rootCa, 'PEM file of roots for the control plane');
  const xdsServerName = r.text('ALT_XDS_HOSTNAME', '', 'name its certificate must have');
  const config: ZtunnelConfig = {
    proxyMode: mode === 'addressed' ? 'addressed' : 'shared',
    network: r.text('NETWORK', '', 'network this node is in'),
    egress: r.choice(
      'OUTBOUND_TRAFFIC_POLICY',
      egressModes,
      'ALLOW_ANY',
      'traffic to addresses that nothing in the mesh claims: passed on, passed on and logged (LOG_ONLY), or refused (REGISTRY_ONLY); Istio’s own ztunnel ignores it',
    ),
    nodeName: r.text('NODE_NAME', '', 'own node; empty = every workload is local'),
    clusterId: r.text('ISTIO_META_CLUSTER_ID', cluster, 'cluster id; wins over CLUSTER_ID'),
    trustDomain: r.text('TRUST_DOMAIN', 'cluster.local', 'trust domain of this proxy'),
    trustDomainAliases: r.list('TRUST_DOMAIN_ALIASES', [], 'trust domains that count as ours'),
    podName: r.text('POD_NAME', '', 'own pod, for the node id and the self listener'),
    podNamespace: r.text(
      'POD_NAMESPACE',
      '',
      'own namespace, for the node id and the self listener',
    ),
    podIp: r.text('INSTANCE_IP', '', 'own address, for the node id and the self listener'),
    serviceAccount: r.text(
      'SERVICE_ACCOUNT',
      '',
      'own account; with POD_NAME and POD_NAMESPACE, `shared` mode answers HBONE on port 15008 of its own pod too',
    ),
    xdsAddress,
    localXdsPath: r.text(
      'LOCAL_XDS_PATH',
      '',
      'YAML file with workloads, services and policies, read once',
    ),
    xdsRootCa,
    xdsServerName,
    caAddress: address(r, 'CA_ADDRESS', istiod, 'certificate authority, host:port'),
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
    inpodUds: r.text('INPOD_UDS', '/var/run/ztunnel/ztunnel.sock', 'unix socket of the node agent'),
    inpod: {
      mark: r.integer('PACKET_MARK', 1337, 'mark of sockets made in pods', {
        min: 1,
        max: 0xffffffff,
      }),
      reusePort: r.flag('INPOD_PORT_REUSE', true, 'two proxies may listen in a pod at once'),
      keepSource: keepSource(r),
      ipv6: r.flag('IPV6_ENABLED', true, 'listen on IPv6 in pods too'),
    },
    socks5: r.flag('UNSTABLE_ENABLE_SOCKS5', false, 'SOCKS5 on port 15080 of each pod'),
    dns: {
      enabled: dnsEnabled(r),
      clusterDomain: r.text('CLUSTER_DOMAIN', 'cluster.local', 'domain of the cluster’s names'),
      preferredNamespace: r.text(
        'PREFERED_SERVICE_NAMESPACE',
        '',
        'namespace whose services win among others of the same name (spelt as Istio does)',
      ),
      resolvConf: r.text('RESOLV_CONF', '/etc/resolv.conf', 'file with the name servers to ask'),
    },
    responseBaggage: r.flag('ENABLE_RESPONSE_BAGGAGE', true, 'describe ourselves in answers'),
    crlPath: r.text('CRL_PATH', '', 'certificate revocation list, PEM or DER'),
    poolStreams: r.integer('POOL_MAX_STREAMS_PER_CONNECTION', 100, 'streams per tunnel', {
      min: 1,
      max: 10_000,
    }),
    poolUnusedMs: r.duration('POOL_UNUSED_RELEASE_TIMEOUT', 300_000, 'unused tunnels close after'),
    http2: {
      streamWindow: r.integer('HTTP2_STREAM_WINDOW_SIZE', 4 << 20, 'bytes', window),
      connectionWindow: r.integer('HTTP2_CONNECTION_WINDOW_SIZE', 16 << 20, 'bytes', window),
      frameSize: r.integer('HTTP2_FRAME_SIZE', 1 << 20, 'bytes', { min: 16_384, max: 16_777_215 }),
    },
    keepalive: {
      enabled: r.flag('KEEPALIVE_ENABLED', true, 'TCP keepalive'),
      idleMs: r.duration('KEEPALIVE_TIME', 180_000, 'idle time before the first probe'),
    },
    drainMs: drainTime(r),
    maxConnectionsPerPod: r.integer(
      'MAX_CONNECTIONS_PER_POD',
      8192,
      'connections of one pod, each direction; others must not starve',
      { min: 1, max: 1_000_000 },
    ),
    admin: {
      host: r.text('ADMIN_ADDRESS', '127.0.0.1', 'address the admin port binds to'),
      port: r.integer('ADMIN_PORT', 15000, 'admin port', port),
    },
    stats: {
      host: r.text('STATS_ADDRESS', '0.0.0.0', 'address the metrics port binds to'),
      port: r.integer('STATS_PORT', 15020, 'metrics port', port),
    },
    readiness: {
      host: r.text('READINESS_ADDRESS', '0.0.0.0', 'address the readiness port binds to'),
      port: r.integer('READINESS_PORT', 15021, 'readiness port', port),
    },
    logLevel: r.text('RUST_LOG', 'info', 'log level, also scope=level'),
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
  const result = r.result(Object.freeze(config));
  return { config: result.ok ? ok(result.value) : bad(...result.faults), asked: r.asked };
}

/** Istio's three ways: must, never, and (unset) whatever the kernel allows. */
function keepSource(r: EnvReader): 'no' | 'try' | 'must' {
  const help = 'whether applications see client addresses; unset = where the kernel allows it';
  const text = r.choice('ENABLE_ORIG_SRC', ['', 'true', 'false'], '', help);
  return text === '' ? 'try' : text === 'true' ? 'must' : 'no';
}

/** Anything but `true` switches it off (ztunnel-protocol.md 10.4). */
const dnsEnabled = (r: EnvReader): boolean =>
  r
    .text('ISTIO_META_DNS_CAPTURE', 'true', 'DNS on 15053 of each pod; off unless `true`')
    .toLowerCase() === 'true';

const window = { min: 65_535, max: 2 ** 31 - 1 };

/** `https://host:port` or `host:port`; nothing but TLS is spoken. */
function address(r: EnvReader, name: string, fallback: string, help: string): string {
  const text = r.text(name, fallback, help);
  const bare = text.startsWith('https://') ? text.slice('https://'.length) : text;
  if (!parseAuthority(bare)) r.fault(name, `must be host:port, is ${JSON.stringify(text)}`);
  return bare;
}

/** CONNECTION_TERMINATION_DEADLINE, else the pod's grace period less a margin, else 5 s (14.1). */
function drainTime(r: EnvReader): number {
  const grace = r.integer('TERMINATION_GRACE_PERIOD_SECONDS', 0, 'grace period of the pod', {
    min: 0,
    max: 86_400,
  });
  const margin = grace > 10 ? grace - 5 : Math.max(1, grace - 1);
  const fallback = grace === 0 ? 5_000 : margin * 1000;
  return r.duration('CONNECTION_TERMINATION_DEADLINE', fallback, 'how long connections may drain');
}
