// Workloads by uid, by address, by node and name. Owned by MeshState; everybody else sees MeshView.
import { type IpAddress } from '../base/index.ts';
import { type NetworkAddress, networkAddress, type WorkloadUid } from './keys.ts';
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

export class WorkloadStore {
  readonly #byUid = new Map<WorkloadUid, Workload>();
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
      if (w && (!best || weight(w) >= weight(best))) best = w;
    }
    return best;
  }

  byHost(namespace: string, hostname: string): Workload | undefined {
    for (const uid of uidsAt(this.#byHost, `${namespace}/${hostname}`)) return this.#byUid.get(uid);
    return undefined;
  }

  /** `node` empty = any node (ztunnel-protocol.md 3.1.4). */
  local(name: LocalName, node: string): Workload | undefined {
    for (const uid of uidsAt(this.#byLocalName, localKey(name))) {
      const w = this.#byUid.get(uid);
      if (w && (node === '' || w.node === node)) return w;
    }
    return undefined;
  }

  put(w: Workload): Workload | undefined {
    const old = this.remove(w.uid);
    this.#byUid.set(w.uid, w);
    if (w.networkMode !== 'HostNetwork') {
      for (const ip of w.addresses) add(this.#byAddress, networkAddress(w.network, ip), w.uid);
    }
    add(this.#byLocalName, localKey(w), w.uid);
    if (w.hostname !== '') add(this.#byHost, `${w.namespace}/${w.hostname}`, w.uid);
    return old;
  }

  remove(uid: WorkloadUid): Workload | undefined {
    const old = this.#byUid.get(uid);
    if (!old) return undefined;
    this.#byUid.delete(uid);
    for (const ip of old.addresses) drop(this.#byAddress, networkAddress(old.network, ip), uid);
    drop(this.#byLocalName, localKey(old), uid);
    if (old.hostname !== '') drop(this.#byHost, `${old.namespace}/${old.hostname}`, uid);
    return old;
  }
}
