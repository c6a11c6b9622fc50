// Which pods this node's proxy serves, as the node agent tells it (ztunnel-protocol.md 9.2): pure, the same
// in every mode. A request goes in, what to do and how to answer comes out; only the transport differs.
import { type IpAddress, parseIp } from '../../core/base/index.ts';
import type { PodNamespace } from '../sockets.ts';

export interface PodInfo {
  /** Kubernetes pod uid, not the mesh's workload uid. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Where its proxy listens in `addressed` mode. */
  readonly addresses: readonly IpAddress[];
  /** Its network namespace in `shared` mode. */
  readonly netns?: PodNamespace | undefined;
}

export type PodRequest =
  | { readonly kind: 'add'; readonly pod: PodInfo }
  | { readonly kind: 'keep'; readonly uid: string }
  | { readonly kind: 'del'; readonly uid: string; readonly drainMs: number }
  | { readonly kind: 'snapshot' };

export type PodAction =
  | { readonly do: 'start'; readonly pod: PodInfo }
  /** Same pod again while it was draining: serve it as before. */
  | { readonly do: 'resume'; readonly uid: string }
  | { readonly do: 'stop'; readonly uid: string; readonly drainMs: number };

export interface PodStep {
  readonly actions: readonly PodAction[];
  /** Set = answer with this error; the request changed nothing. */
  readonly error?: string;
  /** The conversation broke its rules: the process ends after answering, to begin anew (9.2). */
  readonly fatal?: boolean;
}

export type PodPhase = 'up' | 'pending' | 'draining';

interface Pod {
  info: PodInfo;
  phase: PodPhase;
}

export class PodState {
  readonly #pods = new Map<string, Pod>();
  #named = new Set<string>();
  #snapshot = false;

  /** A new connection to the node agent: pods go on, pending ones will be sent again. */
  connected(): void {
    this.#snapshot = false;
    this.#named = new Set();
    for (const [uid, pod] of this.#pods) if (pod.phase === 'pending') this.#pods.delete(uid);
  }

  step(request: PodRequest): PodStep {
    switch (request.kind) {
      case 'add':
        return this.#add(request.pod);
      case 'keep':
        if (this.#snapshot) return { actions: [], error: 'keep after the snapshot', fatal: true };
        this.#named.add(request.uid);
        return { actions: [] };
      case 'del':
        this.#named.delete(request.uid);
        return { actions: this.#snapshot ? this.#remove(request.uid, request.drainMs) : [] };
      case 'snapshot':
        return this.#reconcile();
    }
  }

  /** The pod's listeners are bound. */
  started(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod) pod.phase = 'up';
  }

  /** They could not be bound; it is tried again. */
  failed(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod) pod.phase = 'pending';
  }

  /** Its drain is over. */
  stopped(uid: string): void {
    if (this.#pods.get(uid)?.phase === 'draining') this.#pods.delete(uid);
  }

  /** Snapshot received and nothing pending. */
  get ready(): boolean {
    return this.#snapshot && this.pending().length === 0;
  }

  pending(): PodInfo[] {
    return [...this.#pods.values()].filter((p) => p.phase === 'pending').map((p) => p.info);
  }

  all(): { readonly info: PodInfo; readonly phase: PodPhase }[] {
    return [...this.#pods.values()];
  }

  #add(pod: PodInfo): PodStep {
    const wrong = this.#check(pod);
    if (wrong) return { actions: [], error: wrong };
    this.#named.add(pod.uid);
    const known = this.#pods.get(pod.uid);
    if (!known) {
      const actions = this.#evictDraining(pod);
      this.#pods.set(pod.uid, { info: pod, phase: 'pending' });
      return { actions: [...actions, { do: 'start', pod }] };
    }
    if (!samePod(known.info, pod)) {
      this.#pods.set(pod.uid, { info: pod, phase: 'pending' });
      return {
        actions: [
          { do: 'stop', uid: pod.uid, drainMs: 0 },
          { do: 'start', pod },
        ],
      };
    }
    if (known.phase === 'up') return { actions: [] };
    if (known.phase === 'draining') {
      known.phase = 'up';
      return { actions: [{ do: 'resume', uid: pod.uid }] };
    }
    return { actions: [{ do: 'start', pod }] };
  }

  #check(pod: PodInfo): string | undefined {
    if (pod.uid === '' || pod.name === '' || pod.namespace === '')
      return 'incomplete workload info';
    if (pod.addresses.length === 0 && !pod.netns) return 'a pod needs an address in this mode';
    const other = this.#sharing(pod).find(({ phase }) => phase !== 'draining');
    return other && `address in use by pod ${other.info.namespace}/${other.info.name}`;
  }

  #sharing(pod: PodInfo): Pod[] {
    return [...this.#pods.values()].filter(
      ({ info }) => info.uid !== pod.uid && info.addresses.some((ip) => pod.addresses.includes(ip)),
    );
  }

  /** An address that was given to a new pod ends the old one's drain. */
  #evictDraining(pod: PodInfo): PodAction[] {
    return this.#sharing(pod).flatMap(({ info }) => this.#remove(info.uid, 0));
  }

  #remove(uid: string, drainMs: number): PodAction[] {
    const pod = this.#pods.get(uid);
    if (!pod) return [];
    if (drainMs > 0 && pod.phase !== 'pending') pod.phase = 'draining';
    else this.#pods.delete(uid);
    return [{ do: 'stop', uid, drainMs: pod.phase === 'draining' ? drainMs : 0 }];
  }

  /** Whoever was not named since the connection was made is gone. */
  #reconcile(): PodStep {
    if (this.#snapshot) return { actions: [], error: 'a second snapshot', fatal: true };
    this.#snapshot = true;
    const gone = [...this.#pods.keys()].filter((uid) => !this.#named.has(uid));
    return { actions: gone.flatMap((uid) => this.#remove(uid, 0)) };
  }
}

function samePod(a: PodInfo, b: PodInfo): boolean {
  return (
    a.name === b.name &&
    a.namespace === b.namespace &&
    a.serviceAccount === b.serviceAccount &&
    a.netns?.id === b.netns?.id &&
    a.addresses.join() === b.addresses.join()
  );
}

/** Addresses of a WorkloadInfo; text that is no address makes the whole list `undefined`. */
export function readAddresses(texts: readonly string[]): IpAddress[] | undefined {
  const all = texts.map((t) => parseIp(t));
  return all.every((ip) => ip !== undefined) ? all : undefined;
}
