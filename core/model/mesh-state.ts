// The whole mesh as one proxy knows it. `apply` is the only way to change it and runs in one tick, so
// no plan ever sees half of a change (style-models.md 6.3, 6.5). MeshView is its read side.
import type { IpAddress } from '../base/index.ts';
import { type Identity } from './identity.ts';
import {
  type NamespacedHost,
  namespacedHost,
  type PolicyKey,
  parseNamespacedHost,
  type WorkloadUid,
} from './keys.ts';
import type { Policy } from './policy.ts';
import type { Applicable, RbacConnection, Verdict } from './authorize.ts';
import { PolicyStore } from './policy-store.ts';
import type { Service } from './service.ts';
import { type Endpoint, ServiceStore, serviceKey } from './service-store.ts';
import { type Workload, workloadIdentity } from './workload.ts';
import { type LocalName, WorkloadStore } from './workload-store.ts';

/** One set of changes; updates are applied before removals. */
export interface Batch {
  readonly policies?: readonly Policy[];
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly removed?: {
    /** Resource names of Address: workload uids or `namespace/hostname`. Unknown names are ignored. */
    readonly addresses?: readonly string[];
    readonly policies?: readonly PolicyKey[];
  };
}

export interface ChangeSet {
  readonly workloads: ReadonlySet<WorkloadUid>;
  readonly services: ReadonlySet<NamespacedHost>;
  readonly policies: ReadonlySet<PolicyKey>;
}

/** What an address or host leads to. */
export type Found =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

export interface MeshView {
  workload(uid: WorkloadUid): Workload | undefined;
  workloads(): IterableIterator<Workload>;
  workloadByAddress(network: string, ip: IpAddress): Workload | undefined;
  /** Several ready pods of different identities claim the address. */
  isContested(network: string, ip: IpAddress): boolean;
  /** The workload of a pod handed over by ZDS; `node` empty = any node. */
  localWorkload(name: LocalName, node: string): Workload | undefined;
  service(key: NamespacedHost): Service | undefined;
  services(): IterableIterator<Service>;
  /** `ns` undefined = no visibility filter. */
  serviceByVip(network: string, ip: IpAddress, ns: string | undefined): Service | undefined;
  serviceByHost(hostname: string, ns: string | undefined): Service | undefined;
  /** Every service of that name that `ns` may see, in the order they came. */
  servicesByHost(hostname: string, ns: string): readonly Service[];
  /** Workload by exact address first, then service by VIP (ztunnel-protocol.md 3.2). */
  findAddress(network: string, ip: IpAddress, ns: string | undefined): Found | undefined;
  /** Exactly that namespace and host: a service, else a workload. */
  findHostname(namespace: string, hostname: string): Found | undefined;
  endpoints(key: NamespacedHost): ReadonlyMap<WorkloadUid, Endpoint>;
  stagedEndpoints(): IterableIterator<[NamespacedHost, ReadonlyMap<WorkloadUid, Endpoint>]>;
  policy(key: PolicyKey): Policy | undefined;
  policies(): IterableIterator<Policy>;
  policiesFor(w: Workload): Applicable;
  /** May this connection reach that workload (ztunnel-protocol.md 5)? */
  judge(w: Workload, c: RbacConnection): Verdict;
  /** Identities of HBONE workloads on a node, for certificate prefetch. */
  identitiesOnNode(node: string): readonly Identity[];
  readonly counts: {
    readonly workloads: number;
    readonly services: number;
    readonly policies: number;
  };
}

export class MeshState implements MeshView {
  readonly #workloads = new WorkloadStore();
  readonly #services = new ServiceStore();
  readonly #policies = new PolicyStore();

  get view(): MeshView {
    return this;
  }

  apply(batch: Batch): ChangeSet {
    const workloads = new Set<WorkloadUid>();
    const services = new Set<NamespacedHost>();
    const policies = new Set<PolicyKey>();
    for (const p of batch.policies ?? []) {
      this.#policies.put(p);
      policies.add(p.key);
    }
    for (const s of batch.services ?? []) {
      this.#services.put(s);
      services.add(serviceKey(s));
    }
    for (const w of batch.workloads ?? []) {
      this.#services.attach(w, this.#workloads.put(w));
      workloads.add(w.uid);
    }
    this.#workloads.settle();
    for (const name of batch.removed?.addresses ?? []) this.#remove(name, workloads, services);
    for (const key of batch.removed?.policies ?? []) {
      if (this.#policies.remove(key)) policies.add(key);
    }
    return { workloads, services, policies };
  }

  #remove(name: string, workloads: Set<WorkloadUid>, services: Set<NamespacedHost>): void {
    const old = this.#workloads.remove(name as WorkloadUid);
    if (old) {
      this.#services.detach(old);
      workloads.add(old.uid);
      return;
    }
    const key = parseNamespacedHost(name);
    if (key && this.#services.remove(key)) services.add(key);
  }

  workload(uid: WorkloadUid): Workload | undefined {
    return this.#workloads.get(uid);
  }
  workloads(): IterableIterator<Workload> {
    return this.#workloads.all();
  }
  workloadByAddress(network: string, ip: IpAddress): Workload | undefined {
    return this.#workloads.byAddress(network, ip);
  }
  isContested(network: string, ip: IpAddress): boolean {
    return this.#workloads.contested(network, ip);
  }
  localWorkload(name: LocalName, node: string): Workload | undefined {
    return this.#workloads.local(name, node);
  }
  service(key: NamespacedHost): Service | undefined {
    return this.#services.get(key);
  }
  services(): IterableIterator<Service> {
    return this.#services.all();
  }
  serviceByVip(network: string, ip: IpAddress, ns: string | undefined): Service | undefined {
    return this.#services.byVip(network, ip, ns);
  }
  serviceByHost(hostname: string, ns: string | undefined): Service | undefined {
    return this.#services.byHost(hostname, ns);
  }
  servicesByHost(hostname: string, ns: string): readonly Service[] {
    return this.#services.allByHost(hostname, ns);
  }
  findAddress(network: string, ip: IpAddress, ns: string | undefined): Found | undefined {
    const workload = this.#workloads.byAddress(network, ip);
    if (workload) return { kind: 'workload', workload };
    const service = this.#services.byVip(network, ip, ns);
    return service && { kind: 'service', service };
  }
  findHostname(namespace: string, hostname: string): Found | undefined {
    const service = this.#services.get(namespacedHost(namespace, hostname));
    if (service) return { kind: 'service', service };
    const workload = this.#workloads.byHost(namespace, hostname);
    return workload && { kind: 'workload', workload };
  }
  endpoints(key: NamespacedHost): ReadonlyMap<WorkloadUid, Endpoint> {
    return this.#services.endpoints(key);
  }
  stagedEndpoints(): IterableIterator<[NamespacedHost, ReadonlyMap<WorkloadUid, Endpoint>]> {
    return this.#services.staged();
  }
  policy(key: PolicyKey): Policy | undefined {
    return this.#policies.get(key);
  }
  policies(): IterableIterator<Policy> {
    return this.#policies.all();
  }
  policiesFor(w: Workload): Applicable {
    return this.#policies.appliesTo(w);
  }
  judge(w: Workload, c: RbacConnection): Verdict {
    return this.#policies.judge(w, c);
  }
  /**
   * Does the slow part of putting a policy or workload beforehand; no decision counts it before `apply` does.
   * What is prepared must be applied or discarded.
   */
  prepare(what: { readonly policy: Policy } | { readonly workload: Workload }): void {
    if ('policy' in what) {
      this.#policies.prepare(what.policy);
      return;
    }
    this.#workloads.prepare(what.workload);
    this.#services.prepare(what.workload);
  }
  discard(what: { readonly policy: Policy } | { readonly workload: Workload }): void {
    if ('policy' in what) this.#policies.discard(what.policy);
    else this.#workloads.discard(what.workload);
  }
  /** Cleans up after removed policies, about `rules` rules of them; true = there is more to do. */
  tidy(rules: number): boolean {
    return this.#policies.tidy(rules);
  }
  identitiesOnNode(node: string): readonly Identity[] {
    const found = new Map<string, Identity>();
    for (const w of this.#workloads.all()) {
      if (w.node !== node || (w.protocol !== 'HBONE' && !w.nativeTunnel)) continue;
      const i = workloadIdentity(w);
      found.set(`${i.trustDomain}/${i.namespace}/${i.serviceAccount}`, i);
    }
    return [...found.values()];
  }
  get counts(): { workloads: number; services: number; policies: number } {
    return {
      workloads: this.#workloads.size,
      services: this.#services.size,
      policies: this.#policies.size,
    };
  }
}
