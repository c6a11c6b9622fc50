// Composition root of the waypoint: configuration and what it talks to in, a running proxy out. Order:
// observe, then mesh, then tunnels; stopping is the reverse, with the observability up to the end.
import { Acceptors, type CaClient, CertManager } from '../certs/index.ts';
import { type Clock, parseIp, type Random } from '../core/base/index.ts';
import { podUid, printIdentity, type Workload, type WorkloadUid } from '../core/model/index.ts';
import {
  Headroom,
  listen,
  type Listener,
  type ProxyOpsServers,
  Readiness,
  type Usage,
} from '../core/runtime/index.ts';
import type { Metrics, RootLog } from '../core/telemetry/index.ts';
import type { MeshFeed } from '../core/xds/index.ts';
import { Accept } from './accept/accept.ts';
import { startAdmin } from './admin.ts';
import type { WaypointConfig } from './config.ts';
import type { WaypointContext } from './context.ts';
import { Http1 } from './http/serve-h1.ts';
import { Http2 } from './http/serve-h2.ts';
import { SideCalls } from './http/side-call.ts';
import type { ServiceConfigs } from './l7/config-state.ts';
import { Ingress } from './ingress/ingress.ts';
import { declareMetrics } from './metrics.ts';
import { PluginFiles, Plugins } from './plugins/index.ts';
import { probe } from './probe.ts';
import { Reports } from './report.ts';
import { OpenSockets } from './tunnel-socket.ts';
import { Clusters } from './upstream/clusters.ts';
import { Names } from './upstream/names.ts';
import { Tunnels } from './upstream/tunnels.ts';
import { Upstreams } from './upstream/upstreams.ts';

export interface WaypointDeps {
  readonly feed: MeshFeed;
  readonly services: ServiceConfigs;
  readonly ca: CaClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: RootLog;
  readonly metrics: Metrics;
  /** What the process uses of what it may; default: as the system says. */
  readonly usage?: () => Usage;
  /** `POST /quitquitquit`. */
  readonly quit?: () => void;
}

export interface Waypoint {
  readonly addresses: {
    readonly admin: { readonly host: string; readonly port: number };
    readonly stats: { readonly host: string; readonly port: number };
    readonly readiness: { readonly host: string; readonly port: number };
  };
  readonly ready: Promise<void>;
  stop(options: { readonly graceMs: number }): Promise<void>;
}

const settleLimitMs = 1_500;
/** How long resting connections are left open in a drain (waypoint-l7.md 8.10). */
const restLimitMs = 5_000;

/** Rejects when a port cannot be bound; the error names it. */
export async function startWaypoint(config: WaypointConfig, deps: WaypointDeps): Promise<Waypoint> {
  const { clock, random, log, feed } = deps;
  const readiness = new Readiness(['configuration', 'certificate', 'listener']);
  const identity = printIdentity({
    trustDomain: config.trustDomain,
    namespace: config.podNamespace,
    serviceAccount: config.serviceAccount,
  });
  const certs = new CertManager({
    ca: deps.ca,
    clock,
    random,
    log: log.child('certs'),
    ttlSeconds: config.secretTtlSeconds,
  });
  const tls = { clock, aliases: config.trustDomainAliases };
  const metrics = declareMetrics(deps.metrics, config.version);
  const sockets = new OpenSockets();
  let draining = false;
  const self = ownWorkload(config, feed);
  const names = new Names({ ...config.names, view: feed.view, network: config.network });
  const tunnels = new Tunnels({
    config,
    names,
    clock,
    log: log.child('proxy'),
    certs,
    tls,
    identity,
    self,
    onHandshake: () => metrics.handshakes.add({ reporter: 'source' }),
  });
  const plugins = new Plugins({ clock, random, log: log.child('plugins'), metrics });
  const wanted = (): void => {
    const own = [...deps.services.all()].flatMap((s) => s.plugins ?? []);
    plugins.sync([...pluginFiles.all, ...own]);
  };
  const pluginFiles = new PluginFiles(
    { paths: config.pluginFiles, timeoutMs: config.pluginTimeoutMs },
    log.child('plugins'),
    wanted,
  );
  const onServices = deps.services.onChange(wanted);
  wanted();
  const ctx: WaypointContext = {
    config,
    clock,
    random,
    log: log.child('proxy'),
    view: feed.view,
    services: deps.services,
    identity,
    self,
    upstreams: new Upstreams({ tunnels, sockets, clock, log: log.child('proxy') }),
    sockets,
    clusters: new Clusters(clock, random),
    reports: new Reports({
      clock,
      log: config.accessLog ? log.child('access') : undefined,
      metrics,
      view: () => feed.view,
      self,
      identity,
    }),
    sideCalls: new SideCalls(),
    headroom: new Headroom({
      clock,
      log: log.child('proxy'),
      metrics: metrics.headroom,
      ...(deps.usage && { usage: deps.usage }),
    }),
    plugins,
    pluginFiles,
    draining: () => draining,
  };
  const http1 = new Http1(ctx);
  const http2 = new Http2(ctx);
  const accept = new Accept({ ctx, acceptors: new Acceptors(certs, clock, tls), http1, http2 });
  const admin = await openAdmin(config, deps, ctx, certs, readiness, accept);
  const unsubscribe = feed.onChange((change) => {
    const gone = [...change.workloads].filter((uid) => !feed.view.workload(uid));
    ctx.clusters.prune((c) => feed.view.service(c.service) !== undefined);
    if (gone.length === 0) return;
    tunnels.pool.evict((peer) => gone.includes(peer.uid));
    for (const uid of gone) ctx.clusters.forget(uid);
  });
  void feed.synced.then(() => readiness.done('configuration'));
  certs.want(identity, 'real-time');
  const onCert = certs.onCert(() => readiness.done('certificate'));
  const bound = (): void => readiness.done('listener');
  const ingress =
    config.role === 'ingress' ? new Ingress({ ctx, http1, http2, configured: bound }) : undefined;
  const listener = ingress ?? (await openListener(config, accept));
  if (!ingress) bound();
  log.info('waypoint started', {
    gateway: `${config.podNamespace}/${config.gatewayName}`,
    identity,
  });
  return {
    addresses: { admin: admin.admin, stats: admin.stats, readiness: admin.readiness },
    ready: readiness.whenReady(),
    async stop({ graceMs }) {
      if (draining) return;
      draining = true;
      readiness.undo('draining');
      // Callers hear that we are gone a moment later than we do; until then we serve as before.
      const settleMs = Math.min(settleLimitMs, graceMs / 2);
      await new Promise<void>((resolve) => clock.after(settleMs, resolve));
      accept.drain();
      http2.drain();
      const end = clock.monotonic() + graceMs - settleMs;
      const quiet = (): boolean =>
        accept.streams === 0 && accept.handshakes === 0 && (ingress?.connections ?? 0) === 0;
      // Kept connections close with their next answer; those that rest on, in order, before the time is up.
      await idle(quiet, clock, Math.min(restLimitMs, (end - clock.monotonic()) / 2));
      http1.closeIdle();
      await idle(quiet, clock, end - clock.monotonic());
      listener.close();
      await idle(quiet, clock, end - clock.monotonic());
      accept.destroy();
      ingress?.destroy();
      http1.destroy();
      http2.destroy();
      ctx.upstreams.destroy();
      onServices();
      pluginFiles.stop();
      plugins.stop();
      unsubscribe();
      onCert();
      certs.stop();
      ctx.headroom.stop();
      await admin.stop();
    },
  };
}

function openListener(config: WaypointConfig, accept: Accept): Promise<Listener> {
  const ip = parseIp(config.hbone.host);
  if (!ip) throw new Error(`BIND_ADDRESS is no address: ${config.hbone.host}`);
  return listen({ ip, port: config.hbone.port }, (socket) => void accept.socket(socket), {
    keepalive: config.keepalive,
    halfOpen: false,
  });
}

/** Our pod as the mesh has it, so that locality counts; before that, what we know ourselves. */
function ownWorkload(config: WaypointConfig, feed: MeshFeed): () => Workload {
  const uid = podUid(config.clusterId, config.podNamespace, config.podName);
  const ourselves = describeSelf(config, uid);
  return () => feed.view.workload(uid) ?? ourselves;
}

function describeSelf(config: WaypointConfig, uid: WorkloadUid): Workload {
  const ip = parseIp(config.podIp);
  return {
    uid,
    name: config.podName,
    namespace: config.podNamespace,
    addresses: ip ? [ip] : [],
    hostname: '',
    network: config.network,
    protocol: 'HBONE',
    trustDomain: config.trustDomain,
    serviceAccount: config.serviceAccount,
    node: '',
    canonicalName: config.gatewayName,
    canonicalRevision: 'latest',
    workloadType: 'deployment',
    workloadName: config.gatewayName,
    nativeTunnel: true,
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: config.clusterId,
    services: new Map(),
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  };
}

function openAdmin(
  config: WaypointConfig,
  deps: WaypointDeps,
  ctx: WaypointContext,
  certs: CertManager,
  readiness: Readiness,
  accept: Accept,
): Promise<ProxyOpsServers> {
  return startAdmin(config, {
    log: deps.log,
    metrics: deps.metrics,
    readiness,
    beforeScrape: () => ctx.headroom.observe(),
    dump: () => ({
      identity: ctx.identity,
      gateway: `${config.podNamespace}/${config.gatewayName}`,
      services: [...ctx.services.all()].map((s) => ({
        name: s.key,
        judges: s.judges,
        ports: [...s.ports.values()].map((p) => ({
          port: p.port,
          protocol: p.protocol,
          routed: p.routes !== undefined || p.tcp !== undefined || p.tls.length > 0,
        })),
      })),
      clusters: ctx.clusters.snapshot(),
      plugins: ctx.plugins.snapshot(),
      certificates: certs.snapshot().map((c) => ({
        identity: c.id,
        state: c.status.state,
        ...(c.cert && {
          serial: c.cert.serial,
          notAfter: new Date(c.cert.notAfterMs).toISOString(),
        }),
      })),
      tunnels: {
        in: accept.tunnels,
        streams: accept.streams,
        out: ctx.upstreams.tunnels.pool.size,
        held: ctx.sockets.held(),
      },
    }),
    byTrace: (trace) => ctx.reports.byTrace(trace),
    recent: () => ctx.reports.recent(),
    probe: (request) => probe(ctx, request),
    quit: deps.quit ?? (() => {}),
  });
}

/** Resolves when nothing runs any more, or after the grace time. */
function idle(isIdle: () => boolean, clock: Clock, graceMs: number): Promise<void> {
  const end = clock.monotonic() + graceMs;
  return new Promise((resolve) => {
    const look = (): void => {
      if (isIdle() || clock.monotonic() >= end) resolve();
      else clock.after(50, look);
    };
    look();
  });
}
