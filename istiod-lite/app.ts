// Composition root of the control plane: CA, watches, translation, snapshots, servers, in that order.
import { randomUUID } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import {
  type Clock,
  type DebounceState,
  debounceEvent,
  debounceWait,
  type Log,
  type Timer,
} from '../core/base/index.ts';
import {
  type KubeClient,
  type KubeObject,
  type Resource,
  resources,
  type WatchHandlers,
} from '../core/kube/index.ts';
import { Readiness, type OpsServer, serveOps } from '../core/runtime/index.ts';
import { type RpcServer, serveRpc } from '../core/rpc/index.ts';
import { addressType, authorizationType, serviceConfigType } from '../core/xds/index.ts';
import { type Authority, openAuthority } from './ca/authority.ts';
import { RateLimit } from './ca/rate-limit.ts';
import { makeCreateCertificate } from './ca/serve.ts';
import { ServerCertificateRenewal, signServerCertificate } from './ca/server-certificate.ts';
import {
  ClusterState,
  Discovery,
  type EventType,
  type Kind,
  nodesToOpen,
  nothingTouched,
  type PodFacts,
  type Touched,
} from './cluster/index.ts';
import type { IstiodConfig } from './config.ts';
import { debugRoutes, httpRoutes } from './admin.ts';
import {
  GatewayController,
  type GatewayKind,
  gatewayNameLabel,
  watchedGatewayKinds,
} from './gateway/index.ts';
import { NamespaceConfigMaps } from './kube/config-maps.ts';
import { EntryStatusWriter } from './kube/entry-status.ts';
import { Leader } from './kube/leader.ts';
import { NodeTaints } from './kube/node-taints.ts';
import { StatusWriter } from './kube/status.ts';
import { readTemplate } from './kube/template.ts';
import { type CallerIdentity, TokenReviewer } from './kube/token-review.ts';
import { type IstiodMetrics, istiodMetrics } from './metrics.ts';
import { planEntryStatuses, Translator } from './translate/index.ts';
import { Publisher } from './xds/publish.ts';
import { XdsServer } from './xds/serve.ts';

export interface IstiodDeps {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Istiod {
  readonly addresses: { readonly xds: number; readonly http: number; readonly monitoring: number };
  stop(): Promise<void>;
}

const watched: readonly [Kind, Resource][] = [
  ['Namespace', resources.namespaces],
  ['Node', resources.nodes],
  ['Pod', resources.pods],
  ['Service', resources.services],
  ['EndpointSlice', resources.endpointSlices],
  ['AuthorizationPolicy', resources.authorizationPolicies],
  ['PeerAuthentication', resources.peerAuthentications],
  ['ServiceEntry', resources.serviceEntries],
  ['WorkloadEntry', resources.workloadEntries],
  ['ServiceAccount', resources.serviceAccounts],
];

const isMeshKind = (kind: Kind | GatewayKind): kind is Kind => watched.some(([k]) => k === kind);

/** Watch events → debounce → translate → publish → streams. */
class Pipeline {
  readonly #o: { config: IstiodConfig; deps: IstiodDeps; metrics: IstiodMetrics };
  readonly #cluster: ClusterState;
  readonly #translator: Translator;
  readonly #publisher: Publisher;
  readonly #published: () => void;
  readonly #status: StatusWriter;
  readonly #entryStatus: EntryStatusWriter;
  readonly #leader: Leader;
  readonly #taints: NodeTaints;
  readonly #gateway: GatewayController;
  readonly #discovery: Discovery<Kind | GatewayKind>;
  #onNamespace: (name: string, present: boolean) => void = () => {};
  readonly #waiting = new Set<Kind | GatewayKind>(
    [...watched, ...watchedGatewayKinds].map(([kind]) => kind),
  );
  readonly #stops: (() => void)[] = [];
  #begun = false;
  #touched: Touched = nothingTouched();
  #debounce: DebounceState | undefined;
  #timer: Timer | undefined;
  #synced: () => void = () => {};
  /** Resolves after the first translation of everything listed at start. */
  readonly synced = new Promise<void>((resolve) => {
    this.#synced = resolve;
  });

  constructor(
    o: { config: IstiodConfig; deps: IstiodDeps; metrics: IstiodMetrics },
    cluster: ClusterState,
    publisher: Publisher,
    gateway: GatewayController,
    published: () => void,
  ) {
    this.#o = o;
    this.#cluster = cluster;
    this.#gateway = gateway;
    this.#discovery = new Discovery(o.config.discoverySelector, o.config.rootNamespace);
    this.#publisher = publisher;
    this.#published = published;
    this.#translator = new Translator(o.config);
    const { kube, clock, log } = o.deps;
    this.#status = new StatusWriter(kube, cluster, clock, log.child('status'));
    this.#entryStatus = new EntryStatusWriter(kube, log.child('status'));
    this.#taints = new NodeTaints(kube, clock, log.child('nodes'), () => this.again());
    const { namespace, podName } = o.config;
    this.#leader = new Leader({
      kube,
      namespace,
      identity: podName || `istiod-${randomUUID()}`,
      clock,
      log: log.child('leader'),
      elected: () => this.#lookAgain(),
    });
  }

  start(onNamespace: (name: string, present: boolean) => void): void {
    this.#onNamespace = onNamespace;
    for (const [kind, resource] of watched) this.#watch(kind, resource);
    for (const [kind, resource, query] of watchedGatewayKinds) this.#watch(kind, resource, query);
    this.#gateway.start();
    this.#leader.start();
  }

  #deliver(kind: Kind | GatewayKind, type: EventType, object: KubeObject): void {
    if (!isMeshKind(kind)) return this.#gateway.apply(kind, type, object, this.#touched);
    this.#cluster.apply(kind, type, object, this.#touched);
    if (kind === 'Service') this.#gateway.serviceEvent(type, object);
    if (kind !== 'Namespace') return;
    const { name, deletionTimestamp } = object.metadata;
    const present = type !== 'DELETED' && !deletionTimestamp;
    this.#onNamespace(name, present && this.#discovery.isSelected(name));
  }

  #watch(
    kind: Kind | GatewayKind,
    resource: Resource,
    query?: { readonly fieldSelector?: string; readonly labelSelector?: string },
  ): void {
    const handlers: WatchHandlers = {
      event: (type, object) => {
        for (const e of this.#discovery.pass([kind, type, object])) this.#deliver(...e);
        this.#schedule();
      },
      synced: (exists) => {
        if (!exists) this.#o.deps.log.warn('resource is not served here (yet)', { kind });
        if (!isMeshKind(kind)) this.#gateway.synced(kind, exists);
        if (this.#waiting.delete(kind)) this.#begin();
      },
    };
    this.#stops.push(this.#o.deps.kube.watch(resource, handlers, query));
  }

  /** The first time: once all is known that proxies are to be told, so that a restart takes nothing from them. */
  #begin(): void {
    if (this.#begun || this.#waiting.size > 0 || !this.#gateway.follow()) return;
    this.#begun = true;
    this.#touched.policies = true;
    this.#run();
    this.#synced();
  }

  /** Done when another replica can lead. */
  stop(): Promise<void> {
    for (const s of this.#stops) s();
    this.#gateway.stop();
    this.#taints.stop();
    this.#timer?.cancel();
    return this.#leader.stop();
  }

  /** Something changed that no watch tells of. */
  again(): void {
    this.#schedule();
  }

  /** Elected: whatever the former leader left undone. */
  #lookAgain(): void {
    this.#touched.policies = true;
    this.#touched.entries = true;
    this.#schedule();
  }

  #schedule(): void {
    if (!this.#begun) return this.#begin();
    const { clock } = this.#o.deps;
    this.#debounce = debounceEvent(this.#debounce, clock.monotonic());
    this.#timer ??= this.#arm();
  }

  #arm(): Timer {
    const { clock } = this.#o.deps;
    const plan = { quietMs: this.#o.config.debounceQuietMs, maxMs: this.#o.config.debounceMaxMs };
    const state = this.#debounce ?? debounceEvent(undefined, clock.monotonic());
    return clock.after(debounceWait(plan, state, clock.monotonic()), () => {
      const late = this.#debounce ?? state;
      this.#timer = debounceWait(plan, late, clock.monotonic()) > 0 ? this.#arm() : undefined;
      if (!this.#timer) this.#run();
    });
  }

  #run(): void {
    this.#debounce = undefined;
    const touched = this.#touched;
    this.#touched = nothingTouched();
    const { clock, log } = this.#o.deps;
    const began = clock.monotonic();
    try {
      this.#gateway.touch(touched);
      const outputs = this.#translator.translate(this.#cluster, touched);
      const { leading } = this.#leader;
      if (leading) {
        for (const { key, status } of outputs.statuses) this.#status.want(key, status);
        if (touched.entries || touched.namespaces.size > 0)
          this.#entryStatus.want(planEntryStatuses(this.#cluster, clock.now(), this.#o.config));
      }
      const bound = { ...outputs, ...this.#gateway.withWaypoints(outputs) };
      const grew = this.#publisher.publish({ ...bound, configs: this.#gateway.configs() });
      if (leading) this.#gateway.reconcile();
      if (leading) this.#taints.want(nodesToOpen(this.#cluster, this.#o.config.namespace));
      if (!grew) return;
    } catch (error) {
      log.error('translation failed', {
        error,
        stack: error instanceof Error ? error.stack : undefined,
      });
      return;
    }
    const { snapshots } = this.#publisher;
    this.#o.metrics.translate.observe({}, (clock.monotonic() - began) / 1000);
    for (const type of [addressType, authorizationType, serviceConfigType]) {
      this.#o.metrics.resources.set({ type }, snapshots.type(type)?.size ?? 0);
    }
    log.debug('published', { revision: snapshots.revision });
    this.#published();
  }
}

export async function startIstiodLite(config: IstiodConfig, deps: IstiodDeps): Promise<Istiod> {
  const { kube, clock, log } = deps;
  const metrics = istiodMetrics();
  const readiness = new Readiness(['certificate authority', 'cluster state', 'listeners']);
  const cluster = new ClusterState(config.rootNamespace, config.revision);
  const publisher = new Publisher();
  const tokens = new TokenReviewer(kube, config.tokenAudiences, clock, log.child('tokens'));
  const xds = new XdsServer({
    snapshots: publisher.snapshots,
    tokens,
    gatewayOf: (who) => gatewayOfPod(cluster, who),
    nodeOf: (who) => podOf(cluster, who)?.node,
    nodeAccounts: config.trustedNodeAccounts,
    clock,
    metrics,
    log: log.child('xds'),
  });
  const gateway = new GatewayController({
    kube,
    cluster,
    settings: config,
    template: readTemplate(config.waypointTemplate, {
      namespace: config.namespace,
      image: config.waypointImage,
    }),
    clock,
    log: log.child('gateway'),
    blockedKeyAddresses: [...config.blockedKeyAddresses, ...ownAddresses()],
    changed: () => pipeline.again(),
  });
  const pipeline: Pipeline = new Pipeline(
    { config, deps, metrics },
    cluster,
    publisher,
    gateway,
    () => xds.changed(),
  );

  // Observability first: it must tell why the rest is not ready.
  const host = config.bindAddress;
  const routes = debugRoutes({ snapshots: publisher.snapshots, xds, metrics });
  const http = await serveOps({
    host,
    port: config.httpPort,
    routes: httpRoutes(readiness, routes),
    log,
  });
  const monitoring = await serveOps({ host, port: config.monitoringPort, routes, log });

  const changed = (): void => {
    for (const p of published) p.again();
    void renewal?.now();
  };
  const { namespace, trustDomain, caDirectory: directory } = config;
  const caLog = log.child('ca');
  const refused = (): void => metrics.caRefused.add({});
  const authority = await openAuthority({
    kube,
    namespace,
    trustDomain,
    directory,
    clock,
    changed,
    refused,
    log: caLog,
  }).catch(async (error: unknown) => {
    await Promise.all([http.stop(), monitoring.stop()]);
    throw error;
  });
  let renewal: ServerCertificateRenewal | undefined;
  readiness.done('certificate authority');
  const published = [
    { name: 'istio-ca-root-cert', key: 'root-cert.pem', text: () => authority.rootPem },
    { name: 'istio-ca-crl', key: 'ca-crl.pem', text: () => authority.crlPem },
  ].map((what) => new NamespaceConfigMaps(kube, what, clock, caLog));
  for (const p of published) p.start();
  pipeline.start((name, present) => {
    for (const p of published) p.namespace(name, present);
  });
  await pipeline.synced;
  readiness.done('cluster state');

  const server = await serveCalls(config, { authority, cluster, tokens, xds, metrics, clock, log });
  const own = new ServerCertificateRenewal(() => authority.ca, config, server, clock, caLog);
  renewal = own;
  authority.start();
  readiness.done('listeners');
  log.info('ready', { xds: server.port, http: http.port, monitoring: monitoring.port });
  return {
    addresses: { xds: server.port, http: http.port, monitoring: monitoring.port },
    stop: () => stopAll([authority, own, pipeline, ...published], server, [http, monitoring]),
  };
}

/** This machine's addresses as blocks of one; whether loopback may be called is configuration. */
const ownAddresses = (): string[] =>
  Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .filter((a) => !a.internal)
    .map((a) => `${a.address}/${a.family === 'IPv6' ? 128 : 32}`);

/** `namespace/name` of the Gateway whose pod calls; the API server vouches for the pod, its labels name the Gateway. */
function gatewayOfPod(cluster: ClusterState, who: CallerIdentity): string | undefined {
  const name = podOf(cluster, who)?.labels.get(gatewayNameLabel);
  return name && `${who.namespace}/${name}`;
}

function podOf(cluster: ClusterState, who: CallerIdentity): PodFacts | undefined {
  const pod = cluster.pods.get(who.namespace, who.podName);
  return pod?.uid === who.podUid && pod.serviceAccount === who.serviceAccount ? pod : undefined;
}

async function stopAll(
  first: { stop(): void | Promise<void> }[],
  server: RpcServer,
  ops: OpsServer[],
): Promise<void> {
  const stopped = first.map((f) => f.stop());
  await server.stop(1_000);
  await Promise.all([...stopped, ...ops.map((o) => o.stop())]);
}

async function serveCalls(
  config: IstiodConfig,
  d: {
    authority: Authority;
    cluster: ClusterState;
    tokens: TokenReviewer;
    xds: XdsServer;
    metrics: IstiodMetrics;
    clock: Clock;
    log: Log;
  },
): Promise<RpcServer> {
  const { trustDomain, trustDomainAliases, trustedNodeAccounts } = config;
  const createCertificate = makeCreateCertificate({
    ca: () => d.authority.ca,
    cluster: d.cluster,
    tokens: d.tokens,
    rules: { trustDomain, trustDomainAliases, trustedNodeAccounts },
    limit: new RateLimit(config.caRate, d.clock),
    metrics: d.metrics,
    log: d.log.child('ca'),
  });
  const own = await signServerCertificate(d.authority.ca, config);
  const host = config.bindAddress.includes(':') ? `[${config.bindAddress}]` : config.bindAddress;
  return serveRpc({
    host,
    port: config.xdsPort,
    material: { certChainPem: own.chainPem, keyPem: own.keyPem },
    handlers: { unary: { createCertificate }, bidi: { deltaAggregatedResources: d.xds.open } },
    log: d.log.child('rpc'),
  });
}
