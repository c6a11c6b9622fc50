// Workloads by uid, by address, by node and name. Owned by MeshState; everybody else sees MeshView. The indexes
// by address and name only say where to look: what is there counts if the workload in force says the same. So
// they can be filled beforehand, in slices, without anybody seeing it.
import { type IpAddress } from '../base/index.ts';
import { type NetworkAddress, networkAddress, type WorkloadUid } from './keys.ts';
import { type Filed, type Stage, StagedMap } from './stage.ts';
import { type Workload } from './workload.ts';

/** The identity-bearing name under which a pod is handed to its node proxy. */
export interface LocalName {
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
}

// Several workloads may claim one address: pods before other kinds, then HBONE, then the newest.
const weight = (w: Workload): number =>
  (w.uid.includes('//Pod/') ? 2 : 0) + (w.protocol === 'HBONE' ? 1 : 0);

const localKey = (n: LocalName): string => `${n.namespace}/${n.name}/${n.serviceAccount}`;

/** Almost every key has one workload: a set is made for the second. */
type Uids = WorkloadUid | Set<WorkloadUid>;

function add<K>(index: Map<K, Uids>, key: K, uid: WorkloadUid): void {
  const now = index.get(key);
  if (now === undefined) index.set(key, uid);
  else if (typeof now !== 'string') now.add(uid);
  else if (now !== uid) index.set(key, new Set([now, uid]));
}

function drop<K>(index: Map<K, Uids>, key: K, uid: WorkloadUid): void {
  const now = index.get(key);
  if (now === uid) index.delete(key);
  else if (typeof now === 'object' && now.delete(uid) && now.size === 0) index.delete(key);
}

/** In the order they were added. */
function uidsAt<K>(index: ReadonlyMap<K, Uids>, key: K): Iterable<WorkloadUid> {
  const now = index.get(key);
  return now === undefined ? [] : typeof now === 'string' ? [now] : now;
}

const isAt = (w: Workload, network: string, ip: IpAddress): boolean =>
  w.network === network && w.networkMode !== 'HostNetwork' && w.addresses.includes(ip);

const isCalled = (w: Workload, n: LocalName): boolean =>
  w.namespace === n.namespace && w.name === n.name && w.serviceAccount === n.serviceAccount;

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** Both are found in the same places. */
const sameKeys = (a: Workload, b: Workload): boolean =>
  a.network === b.network &&
  a.networkMode === b.networkMode &&
  a.hostname === b.hostname &&
  isCalled(a, b) &&
  sameTexts(a.addresses, b.addresses);

export class WorkloadStore {
  readonly #byUid = new StagedMap<WorkloadUid, Workload>();
  readonly #byAddress = new Map<NetworkAddress, Uids>();
  readonly #byLocalName = new Map<string, Uids>();
  readonly #byHost = new Map<string, Uids>();

  get(uid: WorkloadUid): Workload | undefined {
    return this.#byUid.get(uid);
  }

  all(): IterableIterator<Workload> {
    return this.#byUid.values();
  }

  get size(): number {
    return this.#byUid.size;
  }

  byAddress(network: string, ip: IpAddress): Workload | undefined {
    let best: Workload | undefined;
    for (const uid of uidsAt(this.#byAddress, networkAddress(network, ip))) {
      const w = this.#byUid.get(uid);
      if (w && isAt(w, network, ip) && (!best || weight(w) >= weight(best))) best = w;
    }
    return best;
  }

  /**
   * Two ready pods under different identities claim the address: nobody can tell who would answer. A pod that is
   * going, and one that only shares its identity, contest nothing.
   */
  contested(network: string, ip: IpAddress): boolean {
    const uids = this.#byAddress.get(networkAddress(network, ip));
    if (uids === undefined || typeof uids === 'string') return false;
    const claims = new Set<string>();
    for (const uid of uids) {
      const w = this.#byUid.get(uid);
      if (!w || !isAt(w, network, ip) || !w.uid.includes('//Pod/') || w.status !== 'Healthy')
        continue;
      claims.add(`${w.trustDomain}/${w.namespace}/${w.serviceAccount}`);
    }
    return claims.size > 1;
  }

  byHost(namespace: string, hostname: string): Workload | undefined {
    for (const uid of uidsAt(this.#byHost, `${namespace}/${hostname}`)) {
      const w = this.#byUid.get(uid);
      if (w?.namespace === namespace && w.hostname === hostname) return w;
    }
    return undefined;
  }

  /** `node` empty = any node (ztunnel-protocol.md 3.1.4). */
  local(name: LocalName, node: string): Workload | undefined {
    for (const uid of uidsAt(this.#byLocalName, localKey(name))) {
      const w = this.#byUid.get(uid);
      if (w && isCalled(w, name) && (node === '' || w.node === node)) return w;
    }
    return undefined;
  }

  /** Files a workload under the stage, one per uid. */
  stage(w: Workload, stage: Stage): Filed<Workload> {
    const old = this.#byUid.get(w.uid);
    this.#byUid.stage(w.uid, w, stage);
    if (!old || !sameKeys(old, w)) this.#file(w);
    return { next: w, old };
  }

  /** Forgets what the end of the stage has left behind; to be done before anything else is put. */
  settle({ next, old }: Filed<Workload>, stage: Stage): void {
    this.#byUid.settle(next.uid);
    if (old && sameKeys(old, next)) return;
    const lost = stage.state === 'applied' ? old : next;
    if (lost) this.#unfile(lost, this.#byUid.get(next.uid));
  }

  put(w: Workload): Workload | undefined {
    const old = this.#byUid.get(w.uid);
    this.#byUid.set(w.uid, w);
    if (old && sameKeys(old, w)) return old;
    if (old) this.#unfile(old, w);
    this.#file(w);
    return old;
  }

  remove(uid: WorkloadUid): Workload | undefined {
    const old = this.#byUid.get(uid);
    if (!old) return undefined;
    this.#byUid.delete(uid);
    this.#unfile(old);
    return old;
  }

  #file(w: Workload): void {
    if (w.networkMode !== 'HostNetwork') {
      for (const ip of w.addresses) add(this.#byAddress, networkAddress(w.network, ip), w.uid);
    }
    add(this.#byLocalName, localKey(w), w.uid);
    if (w.hostname !== '') add(this.#byHost, `${w.namespace}/${w.hostname}`, w.uid);
  }

  /** Where `kept`, of the same uid, is found too, nothing changes: not even who came first. */
  #unfile(w: Workload, kept?: Workload): void {
    for (const ip of w.addresses)
      if (!kept || !isAt(kept, w.network, ip))
        drop(this.#byAddress, networkAddress(w.network, ip), w.uid);
    if (!kept || !isCalled(kept, w)) drop(this.#byLocalName, localKey(w), w.uid);
    const sameHost = kept?.namespace === w.namespace && kept.hostname === w.hostname;
    if (w.hostname !== '' && !sameHost) drop(this.#byHost, `${w.namespace}/${w.hostname}`, w.uid);
  }
}
