// Brings this node's pods into the mesh and out of it, each step in the order that loses no connection.
//   in:  ZDS add → ack, listeners bound → rules → probe exemption → annotation
//   out: outbound rules off → annotation off → every proxy knows → rules idle → ZDS del with a drain
//        → rules gone
import { closeSync } from 'node:fs';
import { backoffDelay, type Clock, type Log, type Random, type Timer } from '../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../core/kube/index.ts';
import { namespaceId, runNft } from '../core/linux/index.ts';
import { redirectionKey, wantsMesh } from '../core/model/index.ts';
import { readSync, waitForSync } from '../core/runtime/index.ts';
import { listenPackets, type ZdsPod, ZdsServer } from '../core/zds/index.ts';
import type { NodeAgentConfig } from './config.ts';
import type { NetnsFinder } from './netns-finder.ts';
import { applyRules, removeRules } from './rules.ts';
import { hostRules, podSwitches, type RuleFacts } from './rules-plan.ts';

export interface NodeAgentDeps {
  readonly kube: KubeClient;
  readonly finder: NetnsFinder;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Whether pods can be enrolled: a ztunnel is connected. */
  readonly ready: (is: boolean) => void;
}

type Told = ZdsPod & { readonly netnsFd: number };

interface Member {
  readonly uid: string;
  pod: PodFacts;
  state: 'out' | 'in';
  /** What ztunnel was told; holds the open namespace. */
  told: Told | undefined;
  /** The `life` of the pod when its namespace was last looked at. */
  seen: string;
  /** Ends the drain: rules and namespace are let go. */
  leaving: Timer | undefined;
  busy: boolean;
  again: boolean;
  failures: number;
  gone: boolean;
}

interface PodFacts {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ips: readonly string[];
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
  readonly hostNetwork: boolean;
  readonly ended: boolean;
  /** Another text after its containers or its addresses were made anew: its namespace may be another too. */
  readonly life: string;
}

const retryPlan = { firstMs: 50, capMs: 5_000, jitter: 0.2 };
const drainMs = 5_000;
const syncLimitMs = 2_000;

export class NodeAgent {
  readonly #config: NodeAgentConfig;
  readonly #deps: NodeAgentDeps;
  readonly #zds: ZdsServer;
  readonly #members = new Map<string, Member>();
  readonly #namespaces = new Map<string, Readonly<Record<string, string>> | undefined>();
  #unwatch: (() => void)[] = [];
  #probeIps = '';
  #exempting: Promise<void> = Promise.resolve();
  #exemptNext: Promise<void> | undefined;
  #stopped = false;

  constructor(config: NodeAgentConfig, deps: NodeAgentDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#zds = new ZdsServer({
      path: config.zdsPath,
      listen: listenPackets,
      clock: deps.clock,
      log: deps.log.child('zds'),
      snapshot: () => [...this.#members.values()].flatMap((m) => (m.told ? [m.told] : [])),
      connected: (is) => {
        deps.ready(is);
        if (is) for (const member of this.#members.values()) this.#work(member);
      },
    });
  }

  /** Resolves when ztunnel may connect: enrolled pods of an earlier run are known by then. */
  async start(): Promise<void> {
    const { kube } = this.#deps;
    const namespaces = Promise.withResolvers<void>();
    const pods = Promise.withResolvers<void>();
    this.#unwatch = [
      kube.watch(resources.namespaces, {
        event: (type, o) => this.#namespaceChanged(type, o),
        synced: () => namespaces.resolve(),
      }),
    ];
    await namespaces.promise;
    const fieldSelector = `spec.nodeName=${this.#config.nodeName}`;
    const handlers = {
      event: (type: string, o: KubeObject) => this.#podChanged(type, o),
      synced: () => pods.resolve(),
    };
    this.#unwatch.push(kube.watch(resources.pods, handlers, { fieldSelector }));
    await pods.promise;
    // ztunnel ends what a snapshot does not name: pods that are in must be named from the first.
    for (const member of this.#members.values()) {
      if (this.#wanted(member) && annotationOf(member.pod) === 'enabled') this.#find(member);
    }
    await this.#zds.start();
  }

  /** Pods stay as they are: captured, and served by ztunnel. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const off of this.#unwatch) off();
    for (const member of this.#members.values()) member.leaving?.cancel();
    await this.#zds.stop();
  }

  #namespaceChanged(type: string, o: KubeObject): void {
    const { name, labels } = o.metadata;
    if (type === 'DELETED') this.#namespaces.delete(name);
    else this.#namespaces.set(name, labels);
    for (const m of this.#members.values()) if (m.pod.namespace === name) this.#work(m);
  }

  #podChanged(type: string, o: KubeObject): void {
    const uid = o.metadata.uid ?? '';
    const pod = factsOf(o);
    const known = this.#members.get(uid);
    if (type === 'DELETED') {
      if (known) this.#gone(known);
      return;
    }
    const member: Member = known ?? {
      uid,
      pod,
      state: 'out',
      told: undefined,
      seen: '',
      leaving: undefined,
      busy: false,
      again: false,
      failures: 0,
      gone: false,
    };
    member.pod = pod;
    this.#members.set(uid, member);
    this.#work(member);
  }

  #wanted({ pod }: Member): boolean {
    const { excludedNamespaces } = this.#config;
    return wantsMesh(pod, this.#namespaces.get(pod.namespace), excludedNamespaces);
  }

  /** Takes steps, one at a time for each pod, until what is and what should be agree. */
  #work(member: Member): void {
    if (member.busy) {
      member.again = true;
      return;
    }
    if (this.#stopped || member.gone || !this.#zds.isConnected) return;
    member.busy = true;
    member.again = false;
    void this.#step(member)
      .then(
        () => {
          member.failures = 0;
        },
        (error: unknown) => this.#failed(member, error),
      )
      .finally(() => {
        member.busy = false;
        if (member.again) this.#work(member);
      });
  }

  async #step(member: Member): Promise<void> {
    const wanted = this.#wanted(member);
    if (wanted && member.state === 'out' && member.pod.ips.length > 0) await this.#join(member);
    else if (!wanted && (member.state === 'in' || annotationOf(member.pod))) {
      await this.#leave(member);
    } else if (member.state === 'in' && member.seen !== member.pod.life) await this.#again(member);
  }

  /** Opens the pod's namespace, once. */
  #open(member: Member): Told {
    const told = this.#find(member);
    if (!told) throw new Error('the pod’s network namespace is not found');
    return told;
  }

  #find(member: Member): Told | undefined {
    member.leaving?.cancel();
    member.leaving = undefined;
    if (member.told) return member.told;
    const netnsFd = this.#deps.finder.find(member.uid);
    if (netnsFd === undefined) return undefined;
    const { name, namespace, serviceAccount, life } = member.pod;
    member.seen = life;
    member.told = { uid: member.uid, name, namespace, serviceAccount, netnsFd };
    return member.told;
  }

  /** Its containers or addresses are new ones: with another namespace it joins again, and the old is let go. */
  async #again(member: Member): Promise<void> {
    const { told, pod } = member;
    const netnsFd = this.#deps.finder.find(member.uid);
    if (!told || netnsFd === undefined) return;
    member.seen = pod.life;
    if (namespaceId(netnsFd) === namespaceId(told.netnsFd)) {
      closeSync(netnsFd);
      await this.#exemptProbes();
      return;
    }
    this.#deps.log.info('a pod has another network namespace', { pod: pod.name });
    member.told = { ...told, netnsFd };
    member.state = 'out';
    closeSync(told.netnsFd);
    await this.#join(member);
  }

  #rules({ pod }: Member): RuleFacts {
    const { probeIp, probeIp6, dnsCapture } = this.#config;
    const ipv6 = pod.ips.some((ip) => ip.includes(':'));
    return { probeIp, probeIp6, ipv6, ...podSwitches(pod.annotations, dnsCapture) };
  }

  async #join(member: Member): Promise<void> {
    const told = this.#open(member);
    await this.#zds.add(told);
    if (member.gone) return;
    await applyRules(told.netnsFd, 'capture', this.#rules(member));
    member.state = 'in';
    await this.#exemptProbes();
    await this.#annotate(member, 'enabled');
    this.#deps.log.info('a pod joined the mesh', { pod: member.pod.name });
  }

  async #leave(member: Member): Promise<void> {
    const { clock, log } = this.#deps;
    const { syncUrl } = this.#config;
    const told = this.#find(member);
    // Its containers have ended while we were away, and its namespace with them.
    if (!told) return this.#annotate(member, undefined);
    const wasIn = member.state === 'in';
    if (wasIn) await applyRules(told.netnsFd, 'inbound', this.#rules(member));
    const before = wasIn && syncUrl !== '' ? await readSync(syncUrl) : undefined;
    await this.#annotate(member, undefined);
    if (wasIn) await waitForSync(syncUrl, before?.revision, clock, syncLimitMs);
    if (member.gone) return;
    await applyRules(told.netnsFd, 'idle', this.#rules(member));
    member.state = 'out';
    await this.#exemptProbes();
    await this.#zds.remove(member.uid, drainMs);
    log.info('a pod left the mesh', { pod: member.pod.name });
    member.leaving = clock.after(drainMs + 500, () => void this.#release(member));
  }

  /** The drain is over: nothing of the mesh stays in the pod. */
  async #release(member: Member): Promise<void> {
    member.leaving = undefined;
    const { told } = member;
    if (!told || member.state === 'in' || member.busy) return;
    member.busy = true;
    try {
      await removeRules(told.netnsFd);
    } catch (error) {
      this.#deps.log.warn('rules were not removed', {
        pod: member.pod.name,
        error: String(error),
      });
    }
    member.busy = false;
    member.told = undefined;
    closeSync(told.netnsFd);
    if (member.again) this.#work(member);
  }

  /** The pod is no more: ztunnel forgets it at once. */
  #gone(member: Member): void {
    member.gone = true;
    member.leaving?.cancel();
    this.#members.delete(member.uid);
    const { told } = member;
    if (!told) return;
    void this.#zds.remove(member.uid, 0).finally(() => closeSync(told.netnsFd));
    if (member.state === 'in') void this.#exemptProbes().catch(() => {});
  }

  #failed(member: Member, error: unknown): void {
    const { clock, random, log } = this.#deps;
    if (this.#stopped || member.gone) return;
    if (member.failures === 3) {
      log.warn('a pod is not in the mesh yet', { pod: member.pod.name, error: String(error) });
    }
    if (member.state === 'out' && member.failures === 3 && this.#wanted(member)) {
      void this.#annotate(member, 'pending').catch(() => {});
    }
    clock.after(backoffDelay(retryPlan, member.failures++, random), () => this.#work(member));
  }

  async #annotate(member: Member, value: 'enabled' | 'pending' | undefined): Promise<void> {
    const { name, namespace } = member.pod;
    if (annotationOf(member.pod) === value) return;
    const patch = { metadata: { annotations: { [redirectionKey]: value ?? null } } };
    try {
      // Through the status, so that the account need not have the right to change what a pod runs.
      const how = { kind: 'merge', subresource: 'status' } as const;
      await this.#deps.kube.patch(resources.pods, namespace, name, patch, how);
    } catch (error) {
      if (!(error instanceof KubeError && error.code === 404)) throw error;
    }
  }

  /** The node's own probes pass into captured pods: one run for all that ask while another runs. */
  #exemptProbes(): Promise<void> {
    this.#exemptNext ??= this.#exempting
      .catch(() => {})
      .then(() => {
        this.#exemptNext = undefined;
        this.#exempting = this.#applyExemptions();
        return this.#exempting;
      });
    return this.#exemptNext;
  }

  async #applyExemptions(): Promise<void> {
    const inside = [...this.#members.values()].filter((m) => m.state === 'in');
    const ips = [...new Set(inside.flatMap((m) => m.pod.ips))].toSorted();
    if (ips.join() === this.#probeIps) return;
    const { probeIp, probeIp6, kubeletUid } = this.#config;
    await runNft(hostRules(ips, { probeIp, probeIp6 }, kubeletUid));
    this.#probeIps = ips.join();
  }
}

const annotationOf = (pod: PodFacts): string | undefined => pod.annotations?.[redirectionKey];

function factsOf(o: KubeObject): PodFacts {
  const spec = (o['spec'] ?? {}) as {
    hostNetwork?: boolean;
    serviceAccountName?: string;
  };
  const status = (o['status'] ?? {}) as {
    phase?: string;
    podIP?: string;
    podIPs?: { ip: string }[];
    containerStatuses?: { name: string; containerID?: string; restartCount?: number }[];
  };
  const ips = status.podIPs?.map(({ ip }) => ip) ?? (status.podIP ? [status.podIP] : []);
  return {
    name: o.metadata.name,
    namespace: o.metadata.namespace ?? '',
    serviceAccount: spec.serviceAccountName ?? 'default',
    ips,
    labels: o.metadata.labels,
    annotations: o.metadata.annotations,
    hostNetwork: spec.hostNetwork === true,
    life: JSON.stringify([
      ips,
      status.containerStatuses?.map((c) => [c.name, c.containerID, c.restartCount]),
    ]),
    ended: status.phase === 'Succeeded' || status.phase === 'Failed',
  };
}
