// All objects the control plane knows, with the indexes that translation needs. `apply` says what an
// event touches; nothing here asks the API server.
//
//   Pod ──selector── Service ── EndpointSlice (targetRef)      Node ── locality of its pods
//    └──selector── AuthorizationPolicy, PeerAuthentication (own and root namespace)
import type { KubeObject } from '../../core/kube/index.ts';
import {
  readServiceEntry,
  readWorkloadEntry,
  type ServiceEntryFacts,
  type WorkloadEntryFacts,
} from './entries.ts';
import {
  type Meta,
  type NamespaceFacts,
  type NodeFacts,
  type PodFacts,
  readMeta,
  readNamespace,
  readNode,
  readPod,
  readService,
  readSlice,
  type ServiceFacts,
  type SliceFacts,
} from './objects.ts';
import {
  type AuthorizationPolicyFacts,
  type PeerAuthenticationFacts,
  readAuthorizationPolicy,
  readPeerAuthentication,
} from './policies.ts';

export type Kind =
  | 'Namespace'
  | 'Node'
  | 'Pod'
  | 'Service'
  | 'EndpointSlice'
  | 'AuthorizationPolicy'
  | 'PeerAuthentication'
  | 'ServiceEntry'
  | 'WorkloadEntry'
  | 'ServiceAccount';

/** Kinds whose `istio.io/rev` label says which control plane they are for. */
const meshKinds: ReadonlySet<Kind> = new Set([
  'AuthorizationPolicy',
  'PeerAuthentication',
  'ServiceEntry',
  'WorkloadEntry',
]);

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** `namespace/name`. */
export type ObjectKey = string;

/** What must be translated again. `everything` covers all workloads. */
export interface Touched {
  readonly pods: Set<ObjectKey>;
  readonly services: Set<ObjectKey>;
  readonly slices: Set<ObjectKey>;
  /** Namespaces whose workloads must all be looked at again. */
  readonly namespaces: Set<string>;
  everything: boolean;
  policies: boolean;
  /** ServiceEntries or WorkloadEntries. */
  entries: boolean;
  /** ServiceAccounts: what policies say of them may be wrong now. */
  accounts: boolean;
}

export const nothingTouched = (): Touched => ({
  pods: new Set(),
  services: new Set(),
  slices: new Set(),
  namespaces: new Set(),
  everything: false,
  policies: false,
  entries: false,
  accounts: false,
});

/** Objects of one kind by namespace and name. */
class Table<T extends { namespace: string; name: string }> {
  readonly #byNamespace = new Map<string, Map<string, T>>();

  get(namespace: string, name: string): T | undefined {
    return this.#byNamespace.get(namespace)?.get(name);
  }
  put(item: T): void {
    const here = this.#byNamespace.get(item.namespace) ?? new Map<string, T>();
    this.#byNamespace.set(item.namespace, here.set(item.name, item));
  }
  drop(namespace: string, name: string): void {
    const here = this.#byNamespace.get(namespace);
    here?.delete(name);
    if (here?.size === 0) this.#byNamespace.delete(namespace);
  }
  *in(namespace: string): IterableIterator<T> {
    yield* this.#byNamespace.get(namespace)?.values() ?? [];
  }
  *all(): IterableIterator<T> {
    for (const here of this.#byNamespace.values()) yield* here.values();
  }
}

const keyOf = (o: { namespace: string; name: string }): ObjectKey => `${o.namespace}/${o.name}`;

export class ClusterState {
  readonly rootNamespace: string;
  readonly #revision: string;
  readonly namespaces = new Table<NamespaceFacts>();
  readonly nodes = new Table<NodeFacts>();
  readonly pods = new Table<PodFacts>();
  readonly services = new Table<ServiceFacts>();
  readonly slices = new Table<SliceFacts>();
  readonly authorizationPolicies = new Table<AuthorizationPolicyFacts>();
  readonly peerAuthentications = new Table<PeerAuthenticationFacts>();
  readonly serviceEntries = new Table<ServiceEntryFacts>();
  readonly workloadEntries = new Table<WorkloadEntryFacts>();
  readonly serviceAccounts = new Table<Meta>();
  readonly #podsByNode = new Map<string, Set<ObjectKey>>();
  /** How many services and entries have come, changed or gone. */
  changes = 0;

  /** Mesh objects labelled for another revision than `revision` are another control plane's. */
  constructor(rootNamespace: string, revision = 'default') {
    this.rootNamespace = rootNamespace;
    this.#revision = revision;
  }

  podsOnNode(node: string): PodFacts[] {
    const keys = this.#podsByNode.get(node) ?? [];
    return [...keys].map((k) => this.podByKey(k)).filter((p) => p !== undefined);
  }

  podByKey(key: ObjectKey): PodFacts | undefined {
    const [namespace = '', name = ''] = key.split('/');
    return this.pods.get(namespace, name);
  }

  serviceByKey(key: ObjectKey): ServiceFacts | undefined {
    const [namespace = '', name = ''] = key.split('/');
    return this.services.get(namespace, name);
  }

  sliceByKey(key: ObjectKey): SliceFacts | undefined {
    const [namespace = '', name = ''] = key.split('/');
    return this.slices.get(namespace, name);
  }

  /** Adds to `touched` what this event changes. */
  apply(kind: Kind, type: EventType, o: KubeObject, touched: Touched): void {
    const gone = type === 'DELETED' || (meshKinds.has(kind) && this.#foreign(o));
    if (kind === 'Service' || kind === 'ServiceEntry') this.changes++;
    switch (kind) {
      case 'Namespace':
        this.#write(this.namespaces, readNamespace(o), gone);
        touched.namespaces.add(o.metadata.name);
        break;
      case 'Node':
        this.#write(this.nodes, readNode(o), gone);
        for (const key of this.#podsByNode.get(o.metadata.name) ?? []) touched.pods.add(key);
        break;
      case 'Pod':
        this.#pod(readPod(o), gone, touched);
        break;
      case 'Service':
        this.#service(readService(o), gone, touched);
        break;
      case 'EndpointSlice':
        this.#slice(readSlice(o), gone, touched);
        break;
      case 'AuthorizationPolicy':
        this.#write(this.authorizationPolicies, readAuthorizationPolicy(o), gone);
        this.#policyTouched(o.metadata.namespace ?? '', touched);
        break;
      case 'PeerAuthentication':
        this.#write(this.peerAuthentications, readPeerAuthentication(o), gone);
        this.#policyTouched(o.metadata.namespace ?? '', touched);
        break;
      case 'ServiceEntry':
        this.#write(this.serviceEntries, readServiceEntry(o), gone);
        touched.entries = true;
        // It may select pods.
        touched.namespaces.add(o.metadata.namespace ?? '');
        break;
      case 'ServiceAccount':
        this.#write(this.serviceAccounts, readMeta(o.metadata), gone);
        touched.accounts = true;
        break;
      case 'WorkloadEntry':
        this.#write(this.workloadEntries, readWorkloadEntry(o), gone);
        touched.entries = true;
        break;
    }
  }

  #foreign(o: KubeObject): boolean {
    const revision = o.metadata.labels?.['istio.io/rev'];
    return revision !== undefined && revision !== this.#revision;
  }

  #write<T extends { namespace: string; name: string }>(
    table: Table<T>,
    item: T,
    gone: boolean,
  ): void {
    if (gone) table.drop(item.namespace, item.name);
    else table.put(item);
  }

  #policyTouched(namespace: string, touched: Touched): void {
    touched.policies = true;
    if (namespace === this.rootNamespace) touched.everything = true;
    else touched.namespaces.add(namespace);
  }

  #pod(pod: PodFacts, gone: boolean, touched: Touched): void {
    const key = keyOf(pod);
    const old = this.pods.get(pod.namespace, pod.name);
    if (old) this.#podsByNode.get(old.node)?.delete(key);
    this.#write(this.pods, pod, gone);
    if (!gone) {
      const here = this.#podsByNode.get(pod.node) ?? new Set<ObjectKey>();
      this.#podsByNode.set(pod.node, here.add(key));
    }
    touched.pods.add(key);
  }

  #service(service: ServiceFacts, gone: boolean, touched: Touched): void {
    this.#write(this.services, service, gone);
    touched.services.add(keyOf(service));
    touched.namespaces.add(service.namespace);
  }

  #slice(slice: SliceFacts, gone: boolean, touched: Touched): void {
    const old = this.slices.get(slice.namespace, slice.name);
    this.#write(this.slices, slice, gone);
    touched.slices.add(keyOf(slice));
    for (const e of [...(old?.endpoints ?? []), ...slice.endpoints]) {
      if (e.pod) touched.pods.add(`${slice.namespace}/${e.pod.name}`);
    }
  }
}
