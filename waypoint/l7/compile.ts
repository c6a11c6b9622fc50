// A service's configuration as received → what a request is judged by, everything prepared once. What cannot
// be read is named, and the service keeps its last good form.
import type * as wire from '../../core/proto/index.ts';
import { type NamespacedHost, namespacedHost } from '../../core/model/index.ts';
import { type CompiledAccess, compileAccess } from './access.ts';
import { classOf, type PortClass } from './backend.ts';
import { type Cluster, clusterKey, compileCluster, defaultCluster } from './cluster.ts';
import { type CompileContext, Faults } from './faults.ts';
import { type CompiledBind, compileListeners } from './listeners.ts';
import { compileExternal, type ExternalAccess } from './providers.ts';
import { compileRateLimits, type RateLimit } from './rate-limits.ts';
import { type PluginSpec, pluginSpec } from '../plugins/index.ts';
import { compileTable, type RouteTable } from './routes.ts';
import { type CompiledTcp, compileNamed, compileTcp, type NamedTcp } from './tcp-routes.ts';
import { compileTokenRules, type TokenRules } from './token-rules.ts';

export interface CompiledPort {
  readonly port: number;
  readonly protocol: PortClass;
  /** The service itself. */
  readonly cluster: Cluster;
  /** Absent = straight to the service. */
  readonly routes: RouteTable | undefined;
  /** By the caller's namespace. */
  readonly consumers: ReadonlyMap<string, RouteTable>;
  readonly tcp: CompiledTcp | undefined;
  /** Where there are some, opaque connections go by server name, and what fits none is refused. */
  readonly tls: readonly NamedTcp[];
}

export interface CompiledService {
  readonly key: NamespacedHost;
  readonly namespace: string;
  readonly hostname: string;
  readonly ports: ReadonlyMap<number, CompiledPort>;
  readonly access: CompiledAccess;
  /** What judges requests here, for those who ask. */
  readonly judges: Judges;
  /** A number of L7Normalization. */
  readonly pathNormalization: number;
  /** Absent = tokens are nobody's business here. */
  readonly tokens: TokenRules | undefined;
  /** Absent = none. By their text, so that equal ones go on counting. */
  readonly rateLimits: ReadonlyMap<string, RateLimit> | undefined;
  /** Absent = none. */
  readonly plugins: readonly PluginSpec[] | undefined;
  /** Absent = nobody else is asked. */
  readonly external: ExternalAccess | undefined;
  readonly clusters: ReadonlyMap<string, Cluster>;
  /** Where a rule says nothing of retries; absent = the default. */
  readonly defaultRetry: wire.L7RetryPolicy | undefined;
  readonly forwardClientCert: boolean;
  /** Not one service: whatever is called by a workload's own address. */
  readonly workloads: boolean;
  /** Of an ingress gateway. */
  readonly binds: readonly CompiledBind[];
}

function compilePort(p: wire.L7PortConfig, key: NamespacedHost, c: CompileContext): CompiledPort {
  const consumers = new Map<string, RouteTable>();
  for (const [namespace, table] of Object.entries(p.consumerRoutes)) {
    consumers.set(namespace, compileTable(table, c));
  }
  return {
    port: p.port,
    protocol: classOf(p.protocol),
    cluster: c.cluster(key, p.port, ''),
    routes: p.routes ? compileTable(p.routes, c) : undefined,
    consumers,
    tcp: p.tcp ? compileTcp(p.tcp, c) : undefined,
    tls: compileNamed(p.tls, c),
  };
}

export interface Judges {
  /** As they came, for tools that judge requests by them. */
  readonly access: readonly wire.L7AccessPolicy[];
  readonly policies: readonly {
    readonly key: string;
    readonly action: string;
    readonly dryRun: boolean;
    readonly provider: string;
  }[];
  /** Whose tokens count; `keys` = there are some to check them with. */
  readonly issuers: readonly { readonly issuer: string; readonly keys: boolean }[];
  readonly limits: readonly { readonly policy: string; readonly name: string }[];
  readonly plugins: readonly string[];
}

const actionNames: Readonly<Record<number, string>> = {
  0: 'ALLOW',
  1: 'DENY',
  2: 'CUSTOM',
  3: 'AUDIT',
};

const judgesOf = (c: wire.L7ServiceConfig): Judges => ({
  access: c.policies,
  policies: c.policies.map(({ key, action, dryRun, provider }) => ({
    key,
    action: actionNames[action] ?? 'DENY',
    dryRun,
    provider,
  })),
  issuers: c.jwtRules.map((r) => ({ issuer: r.issuer, keys: r.jwks !== '' })),
  limits: c.rateLimits.map(({ policy, name }) => ({ policy, name })),
  plugins: c.plugins.map((p) => p.name),
});

/** The service, or every reason why it cannot be taken. */
export function compileService(
  c: wire.L7ServiceConfig,
  before?: CompiledService,
): { readonly service: CompiledService } | { readonly faults: readonly string[] } {
  const faults = new Faults();
  if (c.namespace === '' || c.hostname === '') faults.add('a namespace and a hostname are needed');
  const key = namespacedHost(c.namespace, c.hostname);
  const clusters = new Map(
    c.clusters.map((given) => {
      const made = compileCluster(given);
      return [made.key, made] as const;
    }),
  );
  const context: CompileContext = {
    faults,
    cluster: (s, port, subset) =>
      clusters.get(clusterKey(s, port, subset)) ?? defaultCluster(s, port, subset),
  };
  const ports = new Map(c.ports.map((p) => [p.port, compilePort(p, key, context)]));
  const service: CompiledService = {
    key,
    namespace: c.namespace,
    hostname: c.hostname,
    ports,
    pathNormalization: c.pathNormalization,
    judges: judgesOf(c),
    access: compileAccess(c.policies, faults),
    tokens: compileTokenRules(c.jwtRules),
    rateLimits: compileRateLimits(c.rateLimits, context, before?.rateLimits),
    plugins: c.plugins.length === 0 ? undefined : c.plugins.map(pluginSpec),
    external: compileExternal(c.policies, c.providers, context),
    clusters,
    defaultRetry: c.defaultRetry ?? undefined,
    forwardClientCert: c.forwardClientCert,
    workloads: c.workloads,
    binds: compileListeners(c, context, before?.binds ?? []),
  };
  return faults.all.length > 0 ? { faults: faults.all } : { service };
}
