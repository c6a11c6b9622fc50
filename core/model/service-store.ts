// Services by namespaced host, host and VIP, and the endpoints of each: also those that arrive before
// their service, and those that stay when it goes and comes back (ztunnel-protocol.md 7.4, Z36).
import { cidrContains, type IpAddress, parseIpBytes } from '../base/index.ts';
import {
  type NamespacedHost,
  type NetworkAddress,
  namespacedHost,
  networkAddress,
  type WorkloadUid,
} from './keys.ts';
import type { Service } from './service.ts';
import { type Filed, type Stage, StagedMap } from './stage.ts';
import type { PortMap, Workload } from './workload.ts';

export interface Endpoint {
  readonly workload: WorkloadUid;
  readonly ports: PortMap;
  readonly healthy: boolean;
}

const endpoint = (w: Workload, ports: PortMap): Endpoint => ({
  workload: w.uid,
  ports,
  healthy: w.status === 'Healthy',
});

const noEndpoints: ReadonlyMap<WorkloadUid, Endpoint> = new Map();

export const serviceKey = (s: Service): NamespacedHost => namespacedHost(s.namespace, s.hostname);

const visible = (s: Service, ns: string | undefined): boolean =>
  s.visibility === 'Public' || ns === undefined || s.namespace === ns;

/** Same namespace, then canonical, then first (ztunnel-protocol.md 3.2). */
function best(candidates: Iterable<Service>, ns: string | undefined): Service | undefined {
  let found: Service | undefined;
  let rank = -1;
  for (const s of candidates) {
    if (!visible(s, ns)) continue;
    const r = (s.namespace === ns ? 2 : 0) + (s.canonical ? 1 : 0);
    if (r > rank) {
      found = s;
      rank = r;
    }
  }
  return found;
}

export class ServiceStore {
  readonly #byKey = new Map<NamespacedHost, Service>();
  readonly #byHost = new Map<string, Map<NamespacedHost, Service>>();
  readonly #byVip = new Map<NetworkAddress, Map<NamespacedHost, Service>>();
  readonly #withCidr = new Map<NamespacedHost, Service>();
  readonly #endpoints = new Map<NamespacedHost, StagedMap<WorkloadUid, Endpoint>>();

  get(key: NamespacedHost): Service | undefined {
    return this.#byKey.get(key);
  }

  all(): IterableIterator<Service> {
    return this.#byKey.values();
  }

  get size(): number {
    return this.#byKey.size;
  }

  endpoints(key: NamespacedHost): ReadonlyMap<WorkloadUid, Endpoint> {
    return this.#endpoints.get(key) ?? noEndpoints;
  }

  /** Endpoints whose service is not known, for the dump. */
  *staged(): IterableIterator<[NamespacedHost, ReadonlyMap<WorkloadUid, Endpoint>]> {
    for (const [key, map] of this.#endpoints)
      if (!this.#byKey.has(key) && map.size > 0) yield [key, map];
  }

  byHost(hostname: string, ns: string | undefined): Service | undefined {
    return best(this.#byHost.get(hostname)?.values() ?? [], ns);
  }

  allByHost(hostname: string, ns: string): readonly Service[] {
    const here = this.#byHost.get(hostname)?.values();
    return here ? [...here].filter((s) => visible(s, ns)) : [];
  }

  byVip(network: string, ip: IpAddress, ns: string | undefined): Service | undefined {
    const exact = best(this.#byVip.get(networkAddress(network, ip))?.values() ?? [], ns);
    return exact ?? (this.#withCidr.size > 0 ? this.#byCidr(network, ip, ns) : undefined);
  }

  #byCidr(network: string, ip: IpAddress, ns: string | undefined): Service | undefined {
    const bytes = parseIpBytes(ip);
    if (!bytes) return undefined;
    let found: Service | undefined;
    let rank = -1;
    for (const s of this.#withCidr.values()) {
      if (!visible(s, ns)) continue;
      for (const vip of s.cidrVips) {
        if (vip.network !== network || !cidrContains(vip.cidr, bytes)) continue;
        const r = (s.namespace === ns ? 1024 : 0) + vip.cidr.bits * 2 + (s.canonical ? 1 : 0);
        if (r > rank) {
          found = s;
          rank = r;
        }
      }
    }
    return found;
  }

  put(s: Service): void {
    const key = serviceKey(s);
    this.remove(key);
    this.#byKey.set(key, s);
    const host = this.#byHost.get(s.hostname) ?? new Map<NamespacedHost, Service>();
    this.#byHost.set(s.hostname, host.set(key, s));
    for (const vip of s.vips) {
      const at = networkAddress(vip.network, vip.ip);
      const here = this.#byVip.get(at) ?? new Map<NamespacedHost, Service>();
      this.#byVip.set(at, here.set(key, s));
    }
    if (s.cidrVips.length > 0) this.#withCidr.set(key, s);
  }

  remove(key: NamespacedHost): boolean {
    const old = this.#byKey.get(key);
    if (!old) return false;
    this.#byKey.delete(key);
    this.#withCidr.delete(key);
    const host = this.#byHost.get(old.hostname);
    host?.delete(key);
    if (host?.size === 0) this.#byHost.delete(old.hostname);
    for (const vip of old.vips) {
      const at = networkAddress(vip.network, vip.ip);
      const here = this.#byVip.get(at);
      here?.delete(key);
      if (here?.size === 0) this.#byVip.delete(at);
    }
    return true;
  }

  /** Makes the endpoints of a workload those of `w`, in place of those of its former self. */
  attach(w: Workload, old: Workload | undefined): void {
    if (old)
      for (const key of old.services.keys()) if (!w.services.has(key)) this.#drop(key, w.uid);
    for (const [key, ports] of w.services) this.#of(key).set(w.uid, endpoint(w, ports));
  }

  /** The same under a stage. */
  stage({ next, old }: Filed<Workload>, stage: Stage): void {
    for (const key of old?.services.keys() ?? [])
      if (!next.services.has(key)) this.#endpoints.get(key)?.stage(next.uid, undefined, stage);
    for (const [key, ports] of next.services)
      this.#of(key).stage(next.uid, endpoint(next, ports), stage);
  }

  /** Forgets what the end of the stage has left behind. */
  settle({ next, old }: Filed<Workload>): void {
    for (const w of [next, old]) {
      for (const key of w?.services.keys() ?? []) {
        const map = this.#endpoints.get(key);
        map?.settle(next.uid);
        if (map?.blank) this.#endpoints.delete(key);
      }
    }
  }

  detach(w: Workload): void {
    for (const key of w.services.keys()) this.#drop(key, w.uid);
  }

  #of(key: NamespacedHost): StagedMap<WorkloadUid, Endpoint> {
    const known = this.#endpoints.get(key);
    if (known) return known;
    const made = new StagedMap<WorkloadUid, Endpoint>();
    this.#endpoints.set(key, made);
    return made;
  }

  #drop(key: NamespacedHost, uid: WorkloadUid): void {
    const map = this.#endpoints.get(key);
    map?.delete(uid);
    if (map?.blank) this.#endpoints.delete(key);
  }
}
