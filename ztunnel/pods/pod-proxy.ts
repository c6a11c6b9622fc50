// One pod's proxy: its listeners, its pool of tunnels, its running connections; start, drain, stop.
import type { Socket } from 'node:net';
import {
  type FaultCode,
  fromUnknown,
  type IpAddress,
  type IpPort,
  isLoopback,
  MeshError,
} from '../../core/base/index.ts';
import { type HboneServer, Pool } from '../../core/hbone/index.ts';
import { type SpiffeId, type Workload, workloadSpiffeId } from '../../core/model/index.ts';
import { answerSocks, readSocksTarget } from '../capture/socks5.ts';
import { waitFor, type ZtunnelContext } from '../context.ts';
import { DnsProxy } from '../dns/dns-proxy.ts';
import { acceptTunnel, type HbonePod } from '../inbound/inbound.ts';
import { carryPlaintext } from '../inbound/passthrough.ts';
import {
  carryOutbound,
  type LiveConnection,
  type OutboundPod,
  refuseUnplanned,
} from '../outbound/outbound.ts';
import { dialTunnel, type Peer, peerKey, type TunnelPool } from '../outbound/tunnel.ts';
import { isOwnPort, ports } from '../ports.ts';
import { refuseApp } from '../refusal.ts';
import type { TunnelFacts } from '../report.ts';
import { addressedSockets, namespaceSockets, type PodSockets } from '../sockets.ts';
import { type Listener, remoteOf } from '../../core/runtime/index.ts';
import type { PodInfo } from './pod-state.ts';

const knownMs = 5_000;

export class PodProxy implements OutboundPod, HbonePod {
  readonly uid: string;
  readonly info: PodInfo;
  readonly pool: TunnelPool;
  readonly sockets: PodSockets;
  readonly #ctx: ZtunnelContext;
  readonly #live = new Set<LiveConnection>();
  readonly #tunnels = new Set<{ readonly server: HboneServer; readonly facts: TunnelFacts }>();
  readonly #sockets = new Set<Socket>();
  readonly #idle = new Set<() => void>();
  #listeners: Listener[] = [];
  #dns: DnsProxy | undefined;
  /** The identity last seen, so that it can be let go when the workload is no longer known. */
  #identity: SpiffeId | undefined;

  constructor(ctx: ZtunnelContext, info: PodInfo) {
    this.#ctx = ctx;
    this.uid = info.uid;
    this.info = info;
    this.sockets = info.netns
      ? namespaceSockets(info.netns, ctx.config)
      : addressedSockets(info.addresses, ctx.config, ctx.clock);
    this.pool = new Pool<Peer, TunnelFacts>({
      clock: ctx.clock,
      keyOf: peerKey,
      dial: (peer) => dialTunnel(ctx, this.sockets, peer),
      limits: {
        streamsPerTunnel: ctx.config.poolStreams,
        unusedMs: ctx.config.poolUnusedMs,
        waiters: 1024,
      },
    });
  }

  /**
   * Binds every listener or none; rejects with an error that names the address. `self`: the proxy's own pod,
   * which takes tunnels alone (ztunnel-protocol.md 1.3).
   */
  async start(self = false): Promise<void> {
    const { socks5 } = this.#ctx.config;
    const bound: Listener[] = [];
    const on = async (
      port: number,
      work: (socket: Socket, at: IpAddress) => void,
    ): Promise<void> => {
      const how = { halfOpen: port !== ports.hbone, local: port === ports.socks5 };
      bound.push(...(await this.sockets.listen(port, how, this.#counted(port, work))));
    };
    try {
      if (!self) await on(ports.outbound, (s) => void this.#outbound(s));
      if (!self) await on(ports.inboundPlaintext, (s, at) => void this.#plaintext(s, at));
      await on(ports.hbone, (s) => void acceptTunnel(this.#ctx, this, s));
      if (socks5 && !self) await on(ports.socks5, (s, at) => void this.#socks(s, at));
      bound.push(...(await this.#startDns()));
    } catch (error) {
      for (const l of bound) l.close();
      throw error;
    }
    this.#listeners = bound;
    this.prefetch();
  }

  async #startDns(): Promise<readonly Listener[]> {
    const { sockets } = this;
    if (!sockets.dns || !this.#ctx.config.dns.enabled) return [];
    const dns = new DnsProxy(this.#ctx, this, sockets.dns);
    const how = { halfOpen: true, local: true };
    const bound = await sockets.listen(ports.dns, how, (s) => dns.accept(s));
    try {
      dns.start();
    } catch (error) {
      for (const l of bound) l.close();
      throw error;
    }
    this.#dns = dns;
    return bound;
  }

  /** Starts fetching the pod's certificate as soon as the mesh says who it is. */
  prefetch(): void {
    const workload = this.current();
    if (!workload) return;
    this.#identity = workloadSpiffeId(workload);
    this.#ctx.want(this.#identity);
  }

  get identity(): SpiffeId | undefined {
    return this.#identity;
  }

  current(): Workload | undefined {
    return this.#ctx.feed.view.localWorkload(this.info, this.#ctx.config.nodeName);
  }

  known(): Promise<Workload | undefined> {
    return waitFor(this.#ctx.feed, this.#ctx.clock, knownMs, () => this.current());
  }

  get full(): FaultCode | undefined {
    if (this.#live.size >= 2 * this.#ctx.config.maxConnectionsPerPod) return 'STREAM_LIMIT';
    return this.#ctx.headroom.shortage() && 'OVERLOADED';
  }

  track(live: LiveConnection): () => void {
    this.#live.add(live);
    return () => {
      this.#live.delete(live);
      this.#tellIdle();
    };
  }

  trackTunnel(tunnel: { server: HboneServer; facts: TunnelFacts }): void {
    this.#tunnels.add(tunnel);
    void tunnel.server.closed.then(() => this.#tunnels.delete(tunnel));
    if (this.#listeners.length === 0) tunnel.server.drain();
  }

  live(): readonly LiveConnection[] {
    return [...this.#live];
  }

  /** Cuts tunnels of either direction whose peer's path is bad now; returns how many. */
  cutTunnels(bad: (facts: TunnelFacts) => boolean): { inbound: number; outbound: number } {
    let inbound = 0;
    for (const t of this.#tunnels) {
      if (!bad(t.facts)) continue;
      t.server.destroy();
      inbound++;
    }
    return { inbound, outbound: this.pool.cut(bad) };
  }

  /** First phase: nothing new is accepted, peers are told, what runs goes on. */
  drain(): void {
    for (const l of this.#listeners) l.close();
    this.#listeners = [];
    for (const t of this.#tunnels) t.server.drain();
    this.pool.drain();
  }

  /** Resolves when no connection is left and what was asked of its DNS is answered. */
  async idle(): Promise<void> {
    if (this.#live.size > 0) await new Promise<void>((resolve) => this.#idle.add(resolve));
    await this.#dns?.leave();
  }

  /** Second phase: everything ends now. */
  stop(): void {
    this.drain();
    for (const live of this.#live) {
      live.abort(
        new MeshError('DRAINING', { detail: 'connection closed due to connection drain' }),
      );
    }
    for (const t of this.#tunnels) t.server.destroy();
    this.#dns?.stop();
    this.pool.destroy();
    for (const s of this.#sockets) s.destroy();
  }

  #tellIdle(): void {
    if (this.#live.size > 0) return;
    for (const tell of this.#idle) tell();
    this.#idle.clear();
  }

  /** Every accepted socket is counted, limited per pod, and known until it closes. */
  #counted(
    port: number,
    work: (socket: Socket, at: IpAddress) => void,
  ): (socket: Socket, at: IpAddress) => void {
    const reporter = port === ports.outbound || port === ports.socks5 ? 'source' : 'destination';
    const { socketsOpen } = this.#ctx.reports.metrics;
    return (socket, at) => {
      const reason = this.#noRoom();
      if (reason) {
        this.#ctx.reports.metrics.refusals.add({ reporter, reason });
        socket.resetAndDestroy();
        return;
      }
      this.#sockets.add(socket);
      socketsOpen.add({ reporter }, 1);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        socketsOpen.add({ reporter }, -1);
      });
      work(socket, at);
    };
  }

  #noRoom(): FaultCode | undefined {
    const { config, headroom } = this.#ctx;
    if (this.#sockets.size >= 2 * config.maxConnectionsPerPod) return 'STREAM_LIMIT';
    return headroom.shortage() && 'OVERLOADED';
  }

  async #outbound(socket: Socket): Promise<void> {
    const source = remoteOf(socket);
    if (!source) {
      socket.destroy();
      return;
    }
    let target = unknownTarget(source);
    try {
      target = await this.sockets.target(socket);
      await this.#carryOut(socket, source, target);
    } catch (error) {
      refuseUnplanned(this.#ctx, this.uid, socket, source, target, fromUnknown(error));
    }
  }

  async #carryOut(socket: Socket, source: IpPort, target: IpPort): Promise<void> {
    const from = await this.known();
    if (!from) throw new MeshError('UNKNOWN_SOURCE', { detail: this.#describe() });
    await carryOutbound(this.#ctx, this, from, socket, { source, target });
  }

  async #plaintext(socket: Socket, localIp: IpAddress): Promise<void> {
    const source = remoteOf(socket);
    if (!source) {
      socket.destroy();
      return;
    }
    let target: IpPort = { ip: localIp, port: ports.inboundPlaintext };
    try {
      target = await this.sockets.target(socket);
      const workload = await this.known();
      if (!workload) throw new MeshError('UNKNOWN_LOCAL_WORKLOAD', { detail: this.#describe() });
      await carryPlaintext(
        this.#ctx,
        this,
        workload,
        socket,
        { source, target },
        this.info.netns ? target.ip : localIp,
      );
    } catch (error) {
      const facts = {
        direction: 'inbound',
        trace: '',
        pod: this.uid,
        source,
        destination: target,
        mutualTls: false,
      } as const;
      this.#ctx.reports.early(facts, fromUnknown(error));
      refuseApp(this.#ctx.clock, socket);
    }
  }

  /** Only for clients on the pod's own address: the listener stands for the pod (sandbox.md D2). */
  async #socks(socket: Socket, localIp: IpAddress): Promise<void> {
    const source = remoteOf(socket);
    if (!source || !(source.ip === localIp || isLoopback(source.ip))) {
      socket.destroy();
      return;
    }
    let target = unknownTarget(source);
    try {
      const { feed, clock, config } = this.#ctx;
      target = await readSocksTarget(socket, clock, (host) =>
        resolveHost(feed.view.serviceByHost(host, this.info.namespace)?.vips, config.network),
      );
      answerSocks(socket, 0);
      if (isOwnPort(target.port)) throw new MeshError('RECURSIVE_CALL');
      await this.#carryOut(socket, source, target);
    } catch (error) {
      refuseUnplanned(this.#ctx, this.uid, socket, source, target, fromUnknown(error));
    }
  }

  #describe(): string {
    const { namespace, name } = this.info;
    return `failed to fetch information about local workload: ${namespace}/${name}`;
  }
}

/** Stands in logs for a target that was never learned. */
function unknownTarget(source: IpPort): IpPort {
  return { ip: source.ip, port: ports.outbound };
}

function resolveHost(
  vips: readonly { readonly network: string; readonly ip: IpAddress }[] | undefined,
  network: string,
): IpAddress | undefined {
  return (vips?.find((v) => v.network === network) ?? vips?.[0])?.ip;
}
