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
import { Stage } from './stage.ts';
import { type Workload, workloadIdentity } from './workload.ts';
import { type LocalName, WorkloadStore } from './workload-store.ts';

/** One set of changes; updates are applied before removals, staged ones before others. */
export interface Batch {
  /** What was prepared for this batch. */
  readonly staged?: Stage;
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
  /** Those of `workloads` that are there no more. */
  readonly gone: ReadonlySet<WorkloadUid>;
}

/** What an address or host leads to. */
export type Found =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

export interface MeshView {
  /** Another number after every change: what was worked out of the mesh holds while it is the same. */
  readonly revision: number;
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
  #revision = 0;
  /** The one whose policies and workloads are filed. */
  #open: Stage | undefined;
  /** The last one, while it has not been settled. */
  #ended: Stage | undefined;

  get view(): MeshView {
    return this;
  }

  get revision(): number {
    return this.#revision;
  }

  apply(batch: Batch): ChangeSet {
    this.#revision++;
    this.#settle(Infinity);
    if (this.#open && this.#open !== batch.staged) this.#defer(this.#open);
    const changed = (batch.staged ?? new Stage(false)).changed;
    if (batch.staged) this.#commit(batch.staged);
    for (const p of batch.policies ?? []) this.#putPolicy(p, changed);
    for (const s of batch.services ?? []) {
      this.#services.put(s);
      changed.services.add(serviceKey(s));
    }
    for (const w of batch.workloads ?? []) this.#putWorkload(w, changed);
    for (const name of batch.removed?.addresses ?? []) this.#remove(name, changed);
    for (const key of batch.removed?.policies ?? []) {
      if (this.#policies.remove(key)) changed.policies.add(key);
    }
    return changed;
  }

  /** All that is filed holds from here on; what could not be filed is put after it. */
  #commit(stage: Stage): void {
    this.#end(stage, 'applied');
    if (stage.lateWorkloads.length > 0) this.#settle(Infinity);
    for (const p of stage.latePolicies) this.#putPolicy(p, stage.changed);
    for (const w of stage.lateWorkloads) this.#putWorkload(w, stage.changed);
  }

  #putPolicy(p: Policy, changed: Stage['changed']): void {
    this.#policies.put(p);
    changed.policies.add(p.key);
  }

  #putWorkload(w: Workload, changed: Stage['changed']): void {
    this.#services.attach(w, this.#workloads.put(w));
    changed.workloads.add(w.uid);
  }

  #remove(name: string, changed: Stage['changed']): void {
    const old = this.#workloads.remove(name as WorkloadUid);
    if (old) {
      this.#services.detach(old);
      changed.workloads.add(old.uid);
      changed.gone.add(old.uid);
      return;
    }
    const key = parseNamespacedHost(name);
    if (key && this.#services.remove(key)) changed.services.add(key);
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
   * Begins a batch whose policies and workloads are filed ahead with `prepare`: then `apply` takes the same short
   * time for any number of them. It must be applied or discarded. One at a time is filed; a second one, and one
   * that is open while another batch is applied, does its work in `apply`.
   */
  stage(): Stage {
    this.#settle(Infinity);
    const stage = new Stage(this.#open === undefined);
    this.#open ??= stage;
    return stage;
  }

  /** Does the work of putting a policy or workload beforehand; nobody sees it before `apply`. */
  prepare(stage: Stage, what: { readonly policy: Policy } | { readonly workload: Workload }): void {
    const { changed } = stage;
    // What comes twice is put one after the other, as its order counts.
    if ('policy' in what) {
      const { policy } = what;
      if (changed.policies.has(policy.key)) this.#defer(stage);
      changed.policies.add(policy.key);
      if (stage.eager) stage.policies.push(this.#policies.stage(policy, stage));
      else stage.latePolicies.push(policy);
      return;
    }
    const { workload } = what;
    if (changed.workloads.has(workload.uid)) this.#defer(stage);
    changed.workloads.add(workload.uid);
    if (!stage.eager) {
      stage.lateWorkloads.push(workload);
      return;
    }
    const filed = this.#workloads.stage(workload, stage);
    this.#services.stage(filed, stage);
    stage.workloads.push(filed);
  }

  discard(stage: Stage): void {
    this.#end(stage, 'dropped');
  }

  /** Takes everything out of the files again; it waits for `apply`. */
  #defer(stage: Stage): void {
    if (!stage.eager) return;
    stage.eager = false;
    stage.latePolicies = stage.policies.map((f) => f.next);
    stage.lateWorkloads = stage.workloads.map((f) => f.next);
    this.#end(stage, 'dropped');
    this.#settle(Infinity);
    stage.state = 'open';
  }

  #end(stage: Stage, state: 'applied' | 'dropped'): void {
    stage.state = state;
    if (this.#open !== stage) return;
    this.#open = undefined;
    this.#policies.ended(stage);
    this.#ended = stage;
  }

  /** Forgets what the last stage has left behind, about `count` things of it; answers with what is left of `count`. */
  #settle(count: number): number {
    const stage = this.#ended;
    let left = count;
    for (let w; left > 0 && (w = stage?.workloads.pop()); left--) {
      this.#services.settle(w);
      this.#workloads.settle(w, stage as Stage);
    }
    for (let p; left > 0 && (p = stage?.policies.pop()); left--) this.#policies.settle(p);
    if (left > 0) this.#ended = undefined;
    return left;
  }

  /** Cleans up after batches and removed policies, about `rules` rules of them; true = there is more to do. */
  tidy(rules: number): boolean {
    const left = this.#settle(rules);
    return left <= 0 || this.#policies.tidy(left);
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
