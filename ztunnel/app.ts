// Composition root of ztunnel: configuration and what it talks to in, a running proxy out. Order: observe,
// then mesh, then pods; stopping is the reverse, with the observability up to the very end (design.md 6.7).
import { Acceptors, type CaClient, CertManager, type Revocations } from '../certs/index.ts';
import type { Clock, Random } from '../core/base/index.ts';
import { type ChangeSet, type SpiffeId, workloadSpiffeId } from '../core/model/index.ts';
import { Headroom, type ProxyOpsServers, Readiness, type Usage } from '../core/runtime/index.ts';
import type { Metrics, RootLog } from '../core/telemetry/index.ts';
import { openPackets, openStream } from '../core/zds/index.ts';
import { startAdmin } from './admin.ts';
import type { ZtunnelConfig } from './config.ts';
import { Connections } from './connections.ts';
import type { Feed, ZtunnelContext } from './context.ts';
import { ResolvFile } from './dns/resolv-file.ts';
import { configDump } from './dump.ts';
import { declareMetrics } from './metrics.ts';
import { PodManager } from './pods/pod-manager.ts';
import { PodSource } from './pods/pod-source.ts';
import { type PodInfo, readAddresses } from './pods/pod-state.ts';
import { probe } from './probe.ts';
import { Reports, type TunnelFacts } from './report.ts';

export interface ZtunnelDeps {
  readonly feed: Feed;
  readonly ca: CaClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: RootLog;
  readonly metrics: Metrics;
  /** The revocation list in force; absent = none. Call `recheck` after a reload. */
  readonly revocations?: () => Revocations | undefined;
  /** The node agent broke the rules of its conversation: the process must end with code 1. */
  readonly fatal?: (why: string) => void;
  /** What the process uses of what it may; default: as the system says. */
  readonly usage?: () => Usage;
  /** `POST /quitquitquit`. */
  readonly quit?: () => void;
}

export interface Ztunnel {
  readonly addresses: {
    readonly admin: { readonly host: string; readonly port: number };
    readonly stats: { readonly host: string; readonly port: number };
    readonly readiness: { readonly host: string; readonly port: number };
  };
  readonly ready: Promise<void>;
  /** Cuts tunnels whose peers are revoked now. */
  recheck(): void;
  stop(options: { readonly graceMs: number }): Promise<void>;
}

interface Parts {
  readonly config: ZtunnelConfig;
  readonly deps: ZtunnelDeps;
  readonly ctx: ZtunnelContext;
  readonly certs: CertManager;
  readonly pods: PodManager;
  readonly readiness: Readiness;
}

/** Rejects when an admin, metrics or readiness port cannot be bound; the error names it. */
export async function startZtunnel(config: ZtunnelConfig, deps: ZtunnelDeps): Promise<Ztunnel> {
  const parts = assemble(config, deps);
  const { ctx, certs, pods, readiness } = parts;
  const admin = await openAdmin(parts);
  const source = new PodSource({
    path: config.inpodUds,
    open: config.proxyMode === 'shared' ? openPackets : openStream,
    namespaces: config.proxyMode === 'shared',
    clock: deps.clock,
    random: deps.random,
    log: deps.log.child('zds'),
    connected: () => pods.connected(),
    disconnected: () => pods.disconnected(),
    fatal: deps.fatal,
    handle: (request) => pods.handle(request),
  });
  const unsubscribe = deps.feed.onChange((change) => meshChanged(ctx, pods, change));
  let stopped = false;
  void deps.feed.synced.then(() => {
    readiness.done('state manager');
    if (stopped) return;
    source.start();
    const own = ownPod(config);
    if (own) void pods.startSelf(own);
  });
  deps.log.info('ztunnel started', { mode: config.proxyMode, node: config.nodeName });
  return {
    addresses: { admin: admin.admin, stats: admin.stats, readiness: admin.readiness },
    ready: readiness.whenReady(),
    recheck: () => recheck(parts),
    async stop({ graceMs }) {
      if (stopped) return;
      stopped = true;
      readiness.undo('draining');
      source.stop();
      pods.drain();
      await allIdle(pods, deps.clock, graceMs);
      pods.stop();
      unsubscribe();
      certs.stop();
      ctx.headroom.stop();
      await admin.stop();
    },
  };
}

function assemble(config: ZtunnelConfig, deps: ZtunnelDeps): Parts {
  const { clock, random, log, feed } = deps;
  const readiness = new Readiness(['state manager', 'workload proxy manager']);
  const certs = new CertManager({
    ca: deps.ca,
    clock,
    random,
    log: log.child('certs'),
    ttlSeconds: config.secretTtlSeconds,
  });
  const tls = {
    clock,
    aliases: config.trustDomainAliases,
    ...(deps.revocations && { revocations: deps.revocations }),
  };
  const acceptors = new Acceptors(certs, clock, tls);
  const pods = new PodManager({
    clock,
    log: log.child('pods'),
    context: () => ctx,
    ready: (ready) => {
      if (ready) readiness.done('workload proxy manager');
      else readiness.undo('workload proxy manager');
    },
    forget: (id) => forget(id, certs, acceptors),
  });
  const reports = new Reports({
    clock,
    log,
    metrics: declareMetrics(deps.metrics, config.version),
  });
  const ctx: ZtunnelContext = {
    config,
    clock,
    random,
    log: log.child('proxy'),
    dnsLog: log.child('dns'),
    resolvConf: new ResolvFile(config.dns.resolvConf, clock),
    feed,
    certs,
    tls,
    hbone: {
      streamWindow: config.http2.streamWindow,
      connectionWindow: config.http2.connectionWindow,
      maxFrameSize: config.http2.frameSize,
    },
    reports,
    headroom: new Headroom({
      clock,
      log: log.child('proxy'),
      metrics: reports.metrics.headroom,
      ...(deps.usage && { usage: deps.usage }),
    }),
    connections: new Connections(feed.view),
    accept: (id, stream) => acceptors.accept(id, stream),
    want: (id) => certs.want(id, 'warm-up'),
    serves: (ip) => pods.serves(ip),
  };
  return { config, deps, ctx, certs, pods, readiness };
}

/** Where its own pod takes HBONE (ztunnel-protocol.md 1.3); absent = it is not told who it is. */
function ownPod(config: ZtunnelConfig): PodInfo | undefined {
  const { podName: name, podNamespace: namespace, serviceAccount, podIp } = config;
  if (config.proxyMode !== 'shared' || !name || !namespace || !serviceAccount) return undefined;
  const addresses = readAddresses([podIp === '' ? '0.0.0.0' : podIp]);
  return addresses && { uid: `${namespace}/${name}`, name, namespace, serviceAccount, addresses };
}

function forget(id: SpiffeId, certs: CertManager, acceptors: Acceptors): void {
  certs.forget(id);
  acceptors.forget(id);
}

function openAdmin({ config, deps, ctx, certs, pods, readiness }: Parts): Promise<ProxyOpsServers> {
  const { reports, connections, feed, headroom } = ctx;
  return startAdmin(config, {
    log: deps.log,
    metrics: deps.metrics,
    readiness,
    dump: () =>
      configDump({
        mesh: feed.view,
        config,
        certs: certs.snapshot(),
        pods: pods.all(),
        proxy: (uid) => pods.proxy(uid),
        connections,
        recent: reports.recent(),
      }),
    beforeScrape: () => {
      reports.flush();
      headroom.observe();
    },
    byTrace: (trace) => reports.byTrace(trace),
    recent: () => reports.recent(),
    live: () => reports.live(),
    probe: (request) => probe(ctx, pods.proxy(request.source), request),
    quit: deps.quit ?? (() => {}),
  });
}

/** In the tick of the change: cut what is denied now, drop tunnels to pods that are gone, fetch ahead. */
function meshChanged(ctx: ZtunnelContext, pods: PodManager, change: ChangeSet): void {
  ctx.connections.changed(change);
  const { gone } = change;
  for (const proxy of pods.proxies()) {
    if (gone.size > 0) proxy.pool.evict((peer) => gone.has(peer.uid));
    const workload = proxy.current();
    if (!workload || !change.workloads.has(workload.uid)) continue;
    if (proxy.identity !== workloadSpiffeId(workload)) proxy.prefetch();
  }
}

/** A reloaded revocation list: tunnels whose path is on it end at once (S18, Z19). */
function recheck({ deps, ctx, pods }: Parts): void {
  const revoked = deps.revocations?.();
  if (!revoked) return;
  const bad = ({ peer }: TunnelFacts): boolean =>
    peer.path.some((c) => revoked.get(c.issuer)?.has(c.serial));
  for (const proxy of pods.proxies()) {
    const cut = proxy.cutTunnels(bad);
    if (cut.inbound > 0) ctx.reports.crlRejected('destination', cut.inbound);
    if (cut.outbound > 0) ctx.reports.crlRejected('source', cut.outbound);
  }
}

/** Resolves when no user connection is left, or after the grace time. */
function allIdle(pods: PodManager, clock: Clock, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(graceMs, resolve);
    void Promise.all([...pods.proxies()].map((p) => p.idle())).then(() => {
      timer.cancel();
      resolve();
    });
  });
}
