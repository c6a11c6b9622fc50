// Touched keys → the outputs to write and the outputs to drop. Idempotent: the same cluster gives the same
// outputs, whatever order events came in; equal outputs are suppressed by content hash further on.
import type { Policy, Service, Workload, WorkloadUid } from '../../core/model/index.ts';
import { namespacedHost, podUid, serviceKey } from '../../core/model/index.ts';
import type { ClusterState, ObjectKey, Touched } from '../cluster/index.ts';
import { entriesOfPod, HostOwners, translateEntries } from './entries.ts';
import { peerAuthenticationPolicies } from './peer-auth.ts';
import { missingAccounts, withMissing } from './accounts.ts';
import { type PolicyStatus, translatePolicy } from './policies.ts';
import { serviceHostname, translateService } from './services.ts';
import type { MeshSettings } from './settings.ts';
import { translatePod, translateSlice } from './workloads.ts';

export interface Outputs {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  /** Resource names of Address that are no more. */
  readonly removedAddresses: readonly string[];
  /** All policies there are, when any may have changed; absent = as before. */
  readonly policies?: readonly Policy[];
  readonly statuses: readonly { readonly key: ObjectKey; readonly status: PolicyStatus }[];
}

/** Remembers which workloads slices and entries gave, so that vanished ones can be told. */
export class Translator {
  readonly #settings: MeshSettings;
  readonly #bySlice = new Map<ObjectKey, readonly WorkloadUid[]>();
  /** Resource names that entries gave last time. */
  #byEntries: ReadonlySet<string> = new Set();

  constructor(settings: MeshSettings) {
    this.#settings = settings;
  }

  translate(cluster: ClusterState, touched: Touched): Outputs {
    const { pods, services, slices } = expand(cluster, touched);
    const out = {
      workloads: [] as Workload[],
      services: [] as Service[],
      removedAddresses: [] as string[],
    };
    const m = this.#settings;
    const owners = new HostOwners(cluster, m);
    for (const key of services) {
      const facts = cluster.serviceByKey(key);
      const service = facts && translateService(cluster, facts, m);
      const [namespace = '', name = ''] = key.split('/');
      if (service) out.services.push(service);
      else
        out.removedAddresses.push(
          namespacedHost(namespace, serviceHostname({ namespace, name }, m)),
        );
    }
    for (const key of pods) {
      const facts = cluster.podByKey(key);
      const entries = facts && entriesOfPod(cluster, owners, facts);
      const workload = facts && translatePod(cluster, facts, m, entries);
      const [namespace = '', name = ''] = key.split('/');
      if (workload) out.workloads.push(workload);
      else out.removedAddresses.push(podUid(m.clusterId, namespace, name));
    }
    for (const key of slices) this.#slice(cluster, key, out);
    if (concernsEntries(touched)) this.#entries(cluster, owners, out);
    const given = new Set([...out.workloads.map((w) => w.uid), ...out.services.map(serviceKey)]);
    out.removedAddresses = out.removedAddresses.filter((n) => !given.has(n as WorkloadUid));
    if (!touched.policies && !touched.accounts) return { ...out, statuses: [] };
    const { policies, statuses } = translatePolicies(cluster, m.trustDomain);
    return { ...out, statuses, ...(touched.policies && { policies }) };
  }

  /** All of them: whose host it is depends on the others. */
  #entries(
    cluster: ClusterState,
    owners: HostOwners,
    out: { workloads: Workload[]; services: Service[]; removedAddresses: string[] },
  ): void {
    const made = translateEntries(cluster, owners, this.#settings);
    const names = new Set<string>([
      ...made.workloads.map((w) => w.uid),
      ...made.services.map(serviceKey),
    ]);
    for (const old of this.#byEntries) {
      if (!names.has(old) && !isKubeService(cluster, old, this.#settings))
        out.removedAddresses.push(old);
    }
    this.#byEntries = names;
    out.workloads.push(...made.workloads);
    out.services.push(...made.services);
  }

  #slice(
    cluster: ClusterState,
    key: ObjectKey,
    out: { workloads: Workload[]; removedAddresses: string[] },
  ): void {
    const facts = cluster.sliceByKey(key);
    const made = facts ? translateSlice(cluster, facts, this.#settings) : [];
    const uids = new Set(made.map((w) => w.uid));
    for (const old of this.#bySlice.get(key) ?? [])
      if (!uids.has(old)) out.removedAddresses.push(old);
    if (uids.size > 0) this.#bySlice.set(key, [...uids]);
    else this.#bySlice.delete(key);
    out.workloads.push(...made);
  }
}

/** Pods and slices alone change nothing about entries. */
const concernsEntries = (t: Touched): boolean =>
  t.entries || t.policies || t.everything || t.services.size > 0 || t.namespaces.size > 0;

/** Whether a resource name is that of a Kubernetes Service, which took a host from an entry. */
function isKubeService(cluster: ClusterState, name: string, m: MeshSettings): boolean {
  const [namespace = '', host = ''] = name.split('/');
  const service = cluster.services.get(namespace, host.split('.')[0] ?? '');
  return service !== undefined && serviceHostname(service, m) === host;
}

function expand(
  cluster: ClusterState,
  touched: Touched,
): { pods: Set<ObjectKey>; services: Set<ObjectKey>; slices: Set<ObjectKey> } {
  const pods = new Set(touched.pods);
  const services = new Set(touched.services);
  const slices = new Set(touched.slices);
  const add = (namespace: string): void => {
    for (const p of cluster.pods.in(namespace)) pods.add(`${p.namespace}/${p.name}`);
    for (const s of cluster.services.in(namespace)) services.add(`${s.namespace}/${s.name}`);
    for (const s of cluster.slices.in(namespace)) slices.add(`${s.namespace}/${s.name}`);
  };
  if (touched.everything) {
    for (const p of cluster.pods.all()) pods.add(`${p.namespace}/${p.name}`);
  }
  for (const namespace of touched.namespaces) add(namespace);
  return { pods, services, slices };
}

function translatePolicies(
  cluster: ClusterState,
  trustDomain: string,
): Pick<Outputs, 'policies' | 'statuses'> & { policies: Policy[] } {
  const policies = peerAuthenticationPolicies(cluster);
  const statuses: { key: ObjectKey; status: PolicyStatus }[] = [];
  for (const a of cluster.authorizationPolicies.all()) {
    const { policy, status } = translatePolicy(a, cluster.rootNamespace);
    if (policy) policies.push(policy);
    if (!status) continue;
    const missing = missingAccounts(cluster, a, trustDomain);
    statuses.push({ key: `${a.namespace}/${a.name}`, status: withMissing(status, missing) });
  }
  return { policies, statuses };
}
