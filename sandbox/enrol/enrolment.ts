// Plays node-agent: brings pods into the mesh and out of it, each step in the order that loses no
// connection (sandbox.md D4).
//   in:  ZDS add → ack → others use its 15006 → annotation → its own traffic is captured
//   out: its own traffic free → annotation gone → wait for xDS → others leave its 15006 → ZDS del
import { backoffDelay, type Clock, type Log, type Random } from '../../core/base/index.ts';
import { readSync, waitForSync } from '../../core/runtime/index.ts';
import { listenStream, type ZdsPod, ZdsServer } from '../../core/zds/index.ts';
import type { Store } from '../contract.ts';
import type { Recorder } from '../controllers/index.ts';
import type { MeshFlags } from '../loopback/index.ts';
import { accountOf, as, keys, type Pod } from '../objects.ts';
import { isWanted, redirectionKey } from './decide.ts';

export interface EnrolmentOptions {
  readonly store: Store;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly socketPath: string;
  /** istiod's `/debug/syncz`: whether every proxy has acknowledged the newest state. */
  readonly syncUrl: string;
  flags(uid: string): MeshFlags;
  setFlags(uid: string, flags: MeshFlags): Promise<void>;
}

/** One pod's way in or out; `busy` = a step is being taken. */
interface Membership {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  state: 'out' | 'in';
  /** ztunnel was told, whatever came of it. */
  told: ZdsPod | undefined;
  busy: boolean;
  again: boolean;
  failures: number;
  readonly waiters: Set<() => void>;
}

const retryPlan = { firstMs: 100, capMs: 5_000, jitter: 0.2 };
const drainMs = 5_000;
const syncLimitMs = 2_000;

export class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #zds: ZdsServer;
  readonly #members = new Map<string, Membership>();
  #unwatch: (() => void)[] = [];
  #stopped = false;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#zds = new ZdsServer({
      path: options.socketPath,
      listen: listenStream,
      clock: options.clock,
      log: options.log,
      snapshot: () => this.#told(),
      connected: (is) => {
        if (!is) return;
        for (const member of this.#members.values()) this.#work(member);
      },
    });
  }

  async start(): Promise<void> {
    const { store } = this.#options;
    await this.#zds.start();
    this.#unwatch = [
      store.watch(keys.pods, ({ type, object }) => {
        if (type === 'DELETED') this.#gone(object.metadata.uid ?? '');
        else this.#look(as<Pod>(object));
      }),
      store.watch(keys.namespaces, ({ object }) => {
        const pods = store.list(keys.pods, { namespace: object.metadata.name }).items;
        for (const pod of pods) this.#look(as<Pod>(pod));
      }),
    ];
    for (const pod of store.list(keys.pods).items) this.#look(as<Pod>(pod));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const off of this.#unwatch) off();
    for (const member of this.#members.values()) wake(member);
    await this.#zds.stop();
  }

  /** Resolves when the pod is in, or is not to be: before that its containers must not start. */
  async admit(pod: Pod, signal: AbortSignal): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const inStore = (): Pod | undefined =>
      this.#current(pod.metadata.namespace ?? '', pod.metadata.name, uid);
    const first = inStore();
    if (first) this.#look(first);
    if (this.#mayStart(inStore())) return;
    if (!this.#zds.isConnected) {
      const why = 'waits for ztunnel: a pod of the mesh does not start outside of it';
      this.#options.recorder.event(pod, 'Warning', 'WaitingForMesh', why);
    }
    // Only waits: the steps have a rhythm of their own, and every end of one wakes us.
    while (!signal.aborted && !this.#stopped && !this.#mayStart(inStore())) {
      const member = this.#members.get(uid);
      if (!member) return;
      await nextWake(member, signal);
    }
  }

  #mayStart(pod: Pod | undefined): boolean {
    if (!pod || !this.#wanted(pod)) return true;
    return this.#members.get(pod.metadata.uid ?? '')?.state === 'in';
  }

  #told(): ZdsPod[] {
    return [...this.#members.values()].flatMap((m) => (m.told ? [m.told] : []));
  }

  #wanted(pod: Pod): boolean {
    const namespace = this.#options.store.get(
      keys.namespaces,
      undefined,
      pod.metadata.namespace ?? '',
    );
    return isWanted(pod, namespace?.metadata.labels);
  }

  #current(namespace: string, name: string, uid: string): Pod | undefined {
    const found = this.#options.store.get(keys.pods, namespace, name);
    return found?.metadata.uid === uid ? as<Pod>(found) : undefined;
  }

  #look(pod: Pod): Membership | undefined {
    const { uid = '', namespace = '', name } = pod.metadata;
    const known = this.#members.get(uid);
    if (this.#stopped || (!known && !this.#wanted(pod) && !annotationOf(pod))) return undefined;
    const member: Membership = known ?? {
      uid,
      namespace,
      name,
      state: 'out',
      told: undefined,
      busy: false,
      again: false,
      failures: 0,
      waiters: new Set(),
    };
    this.#members.set(uid, member);
    this.#work(member);
    return member;
  }

  /** Takes steps, one at a time for each pod, until what is and what should be agree. */
  #work(member: Membership): void {
    if (member.busy) {
      member.again = true;
      return;
    }
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
        wake(member);
        if (member.again && !this.#stopped) this.#work(member);
      });
  }

  async #step(member: Membership): Promise<void> {
    const pod = this.#current(member.namespace, member.name, member.uid);
    if (!pod) return;
    const wanted = this.#wanted(pod);
    if (wanted && member.state === 'out' && pod.status?.podIP !== undefined) {
      await this.#join(member, pod, pod.status.podIP);
    } else if (!wanted && (member.state === 'in' || member.told || annotationOf(pod))) {
      await this.#leave(member);
    }
    if (!wanted && member.state === 'out' && !member.told) this.#members.delete(member.uid);
  }

  async #join(member: Membership, pod: Pod, ip: string): Promise<void> {
    const workload: ZdsPod = {
      uid: member.uid,
      name: member.name,
      namespace: member.namespace,
      serviceAccount: accountOf(pod.spec),
      addresses: [ip],
    };
    if (!this.#zds.isConnected) throw new Error('no ztunnel is connected');
    member.told = workload;
    await this.#zds.add(workload);
    await this.#options.setFlags(member.uid, { inbound: true, outbound: false });
    this.#annotate(member, 'enabled');
    await this.#options.setFlags(member.uid, { inbound: true, outbound: true });
    member.state = 'in';
    this.#options.log.info('a pod joined the mesh', { pod: member.name, ip });
  }

  async #leave(member: Membership): Promise<void> {
    const options = this.#options;
    const wasIn = options.flags(member.uid).inbound;
    if (wasIn) {
      await options.setFlags(member.uid, { inbound: true, outbound: false });
      const before = await readSync(options.syncUrl);
      this.#annotate(member, undefined);
      await waitForSync(options.syncUrl, before?.revision, options.clock, syncLimitMs);
    } else this.#annotate(member, undefined);
    member.state = 'out';
    await options.setFlags(member.uid, { inbound: false, outbound: false });
    const { told } = member;
    member.told = undefined;
    if (told) await this.#zds.remove(member.uid, drainMs);
    this.#options.log.info('a pod left the mesh', { pod: member.name });
  }

  /** The pod is no more: ztunnel forgets it at once. */
  #gone(uid: string): void {
    const member = this.#members.get(uid);
    if (!member) return;
    this.#members.delete(uid);
    wake(member);
    if (!member.told) return;
    member.told = undefined;
    void this.#zds.remove(uid, 0);
  }

  #failed(member: Membership, error: unknown): void {
    const { clock, random, log } = this.#options;
    if (this.#stopped || !this.#members.has(member.uid)) return;
    if (member.failures === 0) {
      log.warn('a pod is not in the mesh yet', { pod: member.name, error: String(error) });
    }
    if (member.state === 'out') this.#annotate(member, 'pending');
    const delay = backoffDelay(retryPlan, member.failures++, random);
    clock.after(delay, () => {
      if (!this.#stopped && this.#members.get(member.uid) === member) this.#work(member);
    });
  }

  #annotate(member: Membership, value: 'enabled' | 'pending' | undefined): void {
    const pod = this.#current(member.namespace, member.name, member.uid);
    if (!pod || annotationOf(pod) === value) return;
    this.#options.store.modify(keys.pods, member.namespace, member.name, (o) => {
      const { [redirectionKey]: _old, ...rest } = o.metadata.annotations ?? {};
      o.metadata.annotations = value === undefined ? rest : { ...rest, [redirectionKey]: value };
    });
  }
}

const annotationOf = (pod: Pod): string | undefined => pod.metadata.annotations?.[redirectionKey];

function nextWake(member: Membership, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const wakeUp = (): void => {
      member.waiters.delete(wakeUp);
      signal.removeEventListener('abort', wakeUp);
      done();
    };
    member.waiters.add(wakeUp);
    signal.addEventListener('abort', wakeUp);
  });
}

function wake(member: Membership): void {
  for (const waiter of member.waiters) waiter();
}
