// Pods as the node agent names them → running pod proxies. Performs what pod-state.ts decides, retries
// what could not be bound, and ends drains in time.
import type { Clock, IpAddress, Log, Timer } from '../../core/base/index.ts';
import type { SpiffeId } from '../../core/model/index.ts';
import type { ZtunnelContext } from '../context.ts';
import { PodProxy } from './pod-proxy.ts';
import type { PodNamespace } from '../sockets.ts';
import type { PodAnswer } from './pod-source.ts';
import {
  type PodAction,
  type PodInfo,
  type PodPhase,
  type PodRequest,
  PodState,
} from './pod-state.ts';

const retryMs = 5_000;

export interface PodManagerOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Given late: the context needs to know which addresses are served. */
  readonly context: () => ZtunnelContext;
  /** Ready or not, after each change. */
  readonly ready: (ready: boolean) => void;
  /** No pod with this identity is left. */
  readonly forget: (id: SpiffeId) => void;
}

export class PodManager {
  readonly #options: PodManagerOptions;
  readonly #state = new PodState();
  readonly #proxies = new Map<string, PodProxy>();
  readonly #drains = new Map<string, Timer>();
  readonly #byAddress = new Map<IpAddress, PodProxy>();
  /** Handles of namespaces, by pod uid: closed when the pod is none of ours any more. */
  readonly #namespaces = new Map<string, PodNamespace>();
  #self: PodProxy | undefined;
  #connected = false;
  #retry: Timer | undefined;
  /** Requests and retries one after the other: two starts of one pod would both succeed (SO_REUSEPORT). */
  #turn: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(options: PodManagerOptions) {
    this.#options = options;
  }

  connected(): void {
    this.#connected = true;
    void this.#inTurn(() => {
      this.#state.connected();
      this.#changed();
    });
  }

  disconnected(): void {
    this.#connected = false;
    this.#changed();
  }

  handle(request: PodRequest): Promise<PodAnswer> {
    return this.#inTurn(() => this.#handle(request));
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #handle(request: PodRequest): Promise<PodAnswer> {
    const { actions, error, fatal } = this.#state.step(request);
    if (request.kind === 'add') this.#adopt(request.pod, actions);
    let failed: string | undefined;
    for (const action of actions) failed = (await this.#perform(action)) ?? failed;
    this.#changed();
    const text = error ?? failed;
    return { ...(text !== undefined && { error: text }), ...(fatal && { fatal }) };
  }

  *proxies(): IterableIterator<PodProxy> {
    yield* this.#proxies.values();
    if (this.#self) yield this.#self;
  }

  /** HBONE to this process's own pod: in its own network namespace, under its own identity. */
  async startSelf(info: PodInfo): Promise<void> {
    const proxy = new PodProxy(this.#options.context(), info);
    try {
      await proxy.start(true);
    } catch (error) {
      if (this.#stopped) return;
      const text = error instanceof Error ? error.message : String(error);
      this.#options.log.warn('the own pod’s port could not be opened', { error: text });
      this.#options.clock.after(retryMs, () => void this.startSelf(info));
      return;
    }
    if (this.#stopped) proxy.stop();
    else this.#self = proxy;
  }

  proxy(uid: string): PodProxy | undefined {
    return this.#proxies.get(uid);
  }

  serves(ip: IpAddress): boolean {
    return this.#byAddress.has(ip);
  }

  all(): { readonly info: PodInfo; readonly phase: PodPhase }[] {
    return this.#state.all();
  }

  /** First phase of a stop: nothing new, peers are told. */
  drain(): void {
    this.#stopped = true;
    this.#retry?.cancel();
    for (const p of this.proxies()) p.drain();
  }

  stop(): void {
    this.drain();
    for (const t of this.#drains.values()) t.cancel();
    for (const p of this.proxies()) p.stop();
    this.#self = undefined;
    this.#proxies.clear();
    this.#byAddress.clear();
    for (const netns of this.#namespaces.values()) netns.close();
    this.#namespaces.clear();
  }

  /** A handle that came with an `add`: kept if the pod is started with it. */
  #adopt(pod: PodInfo, actions: readonly PodAction[]): void {
    const { netns, uid } = pod;
    if (!netns) return;
    if (!actions.some((a) => a.do === 'start' && a.pod.uid === uid)) {
      netns.close();
      return;
    }
    const old = this.#namespaces.get(uid);
    this.#namespaces.set(uid, netns);
    // The proxy that still runs with it is stopped in this very tick, before the new one starts.
    old?.close();
  }

  #closeNamespaces(): void {
    const known = new Set(this.#state.all().map(({ info }) => info.uid));
    for (const [uid, netns] of this.#namespaces) {
      if (known.has(uid)) continue;
      this.#namespaces.delete(uid);
      netns.close();
    }
  }

  async #perform(action: PodAction): Promise<string | undefined> {
    switch (action.do) {
      case 'start':
        return this.#start(action.pod);
      case 'resume':
        this.#drains.get(action.uid)?.cancel();
        this.#drains.delete(action.uid);
        return undefined;
      case 'stop':
        this.#stop(action.uid, action.drainMs);
        return undefined;
    }
  }

  async #start(pod: PodInfo): Promise<string | undefined> {
    const { log } = this.#options;
    const ctx = this.#options.context();
    const proxy = new PodProxy(ctx, pod);
    try {
      await proxy.start();
    } catch (error) {
      this.#state.failed(pod.uid);
      const text = error instanceof Error ? error.message : String(error);
      log.warn('pod proxy could not be started', { pod: podName(pod), error: text });
      this.#armRetry();
      return text;
    }
    if (this.#stopped) {
      proxy.stop();
      return 'the proxy is shutting down';
    }
    this.#proxies.set(pod.uid, proxy);
    for (const ip of pod.addresses) this.#byAddress.set(ip, proxy);
    this.#state.started(pod.uid);
    ctx.reports.metrics.proxiesStarted.add({});
    log.info('pod proxy started', { pod: podName(pod), addresses: pod.addresses.join(',') });
    return undefined;
  }

  /** With a drain the listeners stay open for its length (sandbox.md D4). */
  #stop(uid: string, drainMs: number): void {
    this.#drains.get(uid)?.cancel();
    this.#drains.delete(uid);
    const proxy = this.#proxies.get(uid);
    if (!proxy) return;
    if (drainMs > 0) {
      this.#drains.set(
        uid,
        this.#options.clock.after(drainMs, () => {
          this.#stop(uid, 0);
          this.#state.stopped(uid);
          this.#changed();
        }),
      );
      return;
    }
    this.#proxies.delete(uid);
    for (const [ip, p] of this.#byAddress) if (p === proxy) this.#byAddress.delete(ip);
    proxy.stop();
    this.#options.context().reports.metrics.proxiesStopped.add({});
    this.#options.log.info('pod proxy stopped', { pod: podName(proxy.info) });
    this.#forget(proxy.identity);
  }

  #forget(id: SpiffeId | undefined): void {
    if (id === undefined) return;
    for (const p of this.proxies()) if (p.identity === id) return;
    this.#options.forget(id);
  }

  #armRetry(): void {
    this.#retry?.cancel();
    this.#retry = this.#options.clock.after(
      retryMs,
      () => void this.#inTurn(() => this.#retryPending()),
    );
  }

  async #retryPending(): Promise<void> {
    for (const pod of this.#state.pending()) if (!this.#stopped) await this.#start(pod);
    this.#changed();
  }

  #changed(): void {
    this.#closeNamespaces();
    const { activeProxies, pendingProxies } = this.#options.context().reports.metrics;
    activeProxies.set({}, this.#proxies.size);
    pendingProxies.set({}, this.#state.pending().length);
    this.#options.ready(this.#connected && this.#state.ready);
  }
}

const podName = (p: PodInfo): string => `${p.namespace}/${p.name}`;
