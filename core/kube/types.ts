// What the rest of the code knows of Kubernetes: plain objects, resources by name, errors with a reason.
import type { Duplex, Readable, Writable } from 'node:stream';

export interface KubeMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  generateName?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: {
    apiVersion: string;
    kind: string;
    name: string;
    uid: string;
    controller?: boolean;
  }[];
  [more: string]: unknown;
}

export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: KubeMeta;
  [field: string]: unknown;
}

/** A REST resource. `group` is '' for the core group. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

const make = (
  group: string,
  version: string,
  plural: string,
  kind: string,
  namespaced = true,
): Resource => ({
  group,
  version,
  plural,
  kind,
  namespaced,
});

/** The resources the mesh reads or writes. */
export const resources = {
  namespaces: make('', 'v1', 'namespaces', 'Namespace', false),
  nodes: make('', 'v1', 'nodes', 'Node', false),
  pods: make('', 'v1', 'pods', 'Pod'),
  services: make('', 'v1', 'services', 'Service'),
  serviceAccounts: make('', 'v1', 'serviceaccounts', 'ServiceAccount'),
  configMaps: make('', 'v1', 'configmaps', 'ConfigMap'),
  secrets: make('', 'v1', 'secrets', 'Secret'),
  events: make('', 'v1', 'events', 'Event'),
  deployments: make('apps', 'v1', 'deployments', 'Deployment'),
  horizontalPodAutoscalers: make(
    'autoscaling',
    'v2',
    'horizontalpodautoscalers',
    'HorizontalPodAutoscaler',
  ),
  podDisruptionBudgets: make('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget'),
  replicaSets: make('apps', 'v1', 'replicasets', 'ReplicaSet'),
  daemonSets: make('apps', 'v1', 'daemonsets', 'DaemonSet'),
  endpointSlices: make('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice'),
  leases: make('coordination.k8s.io', 'v1', 'leases', 'Lease'),
  customResourceDefinitions: make(
    'apiextensions.k8s.io',
    'v1',
    'customresourcedefinitions',
    'CustomResourceDefinition',
    false,
  ),
  authorizationPolicies: make(
    'security.istio.io',
    'v1',
    'authorizationpolicies',
    'AuthorizationPolicy',
  ),
  gateways: make('gateway.networking.k8s.io', 'v1', 'gateways', 'Gateway'),
  gatewayClasses: make('gateway.networking.k8s.io', 'v1', 'gatewayclasses', 'GatewayClass', false),
  httpRoutes: make('gateway.networking.k8s.io', 'v1', 'httproutes', 'HTTPRoute'),
  grpcRoutes: make('gateway.networking.k8s.io', 'v1', 'grpcroutes', 'GRPCRoute'),
  tcpRoutes: make('gateway.networking.k8s.io', 'v1alpha2', 'tcproutes', 'TCPRoute'),
  tlsRoutes: make('gateway.networking.k8s.io', 'v1alpha2', 'tlsroutes', 'TLSRoute'),
  referenceGrants: make(
    'gateway.networking.k8s.io',
    'v1beta1',
    'referencegrants',
    'ReferenceGrant',
  ),
  backendTlsPolicies: make(
    'gateway.networking.k8s.io',
    'v1',
    'backendtlspolicies',
    'BackendTLSPolicy',
  ),
  backendTrafficPolicies: make(
    'gateway.networking.x-k8s.io',
    'v1alpha1',
    'xbackendtrafficpolicies',
    'XBackendTrafficPolicy',
  ),
  serviceEntries: make('networking.istio.io', 'v1', 'serviceentries', 'ServiceEntry'),
  workloadEntries: make('networking.istio.io', 'v1', 'workloadentries', 'WorkloadEntry'),
  destinationRules: make('networking.istio.io', 'v1', 'destinationrules', 'DestinationRule'),
  virtualServices: make('networking.istio.io', 'v1', 'virtualservices', 'VirtualService'),
  requestAuthentications: make(
    'security.istio.io',
    'v1',
    'requestauthentications',
    'RequestAuthentication',
  ),
  rateLimitPolicies: make('ambientlite.dev', 'v1alpha1', 'ratelimitpolicies', 'RateLimitPolicy'),
  peerAuthentications: make('security.istio.io', 'v1', 'peerauthentications', 'PeerAuthentication'),
} as const;

/** An answer of the API server that is no success, with its Status. */
export class KubeError extends Error {
  readonly code: number;
  readonly reason: string;
  constructor(code: number, reason: string, message: string) {
    super(message);
    this.name = 'KubeError';
    this.code = code;
    this.reason = reason;
  }
}

export interface KubeList {
  readonly items: KubeObject[];
  readonly resourceVersion: string;
}

export type PatchKind = 'merge' | 'strategic' | 'json' | 'apply';

export interface PatchOptions {
  readonly kind: PatchKind;
  readonly subresource?: 'status';
  /** Needed for `apply`. */
  readonly fieldManager?: string;
  readonly force?: boolean;
  /** The server judges and answers, and stores nothing. */
  readonly dryRun?: boolean;
}

export interface WatchHandlers {
  /** The newest state of one object; DELETED carries the last known one. */
  event(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void;
  /** The first list has been delivered; `false` = the resource does not exist on this server (yet). */
  synced(exists: boolean): void;
}

export interface KubeExec {
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly stdin: Writable;
  readonly exit: Promise<number>;
}

export interface KubeClient {
  readonly server: string;
  /** The namespace of the kubeconfig's context, `default` if it names none. */
  readonly namespace: string;
  /** Any path; the answer's JSON. Throws KubeError. */
  raw(method: string, path: string, body?: unknown, contentType?: string): Promise<unknown>;
  get(r: Resource, namespace: string | undefined, name: string): Promise<KubeObject | undefined>;
  list(
    r: Resource,
    namespace?: string,
    query?: { labelSelector?: string; fieldSelector?: string },
  ): Promise<KubeList>;
  create(r: Resource, object: KubeObject): Promise<KubeObject>;
  replace(r: Resource, object: KubeObject, subresource?: 'status'): Promise<KubeObject>;
  patch(
    r: Resource,
    namespace: string | undefined,
    name: string,
    patch: unknown,
    options: PatchOptions,
  ): Promise<KubeObject>;
  remove(r: Resource, namespace: string | undefined, name: string): Promise<void>;
  /** Lists, watches, resumes, re-lists after 410, backs off, and waits for resources that come later. */
  watch(
    r: Resource,
    handlers: WatchHandlers,
    query?: { fieldSelector?: string; labelSelector?: string; namespace?: string },
  ): () => void;
  /** A connection to a port of a pod, through the API server. */
  dialPod(namespace: string, pod: string, port: number): Promise<Duplex>;
  exec(
    namespace: string,
    pod: string,
    container: string | undefined,
    command: readonly string[],
    stdin: boolean,
  ): Promise<KubeExec>;
  /** Log text as it comes. */
  logs(
    namespace: string,
    pod: string,
    options: { container?: string; follow?: boolean; tailLines?: number; previous?: boolean },
  ): Promise<Readable>;
}

export function resourcePath(
  r: Resource,
  namespace?: string,
  name?: string,
  subresource?: string,
): string {
  const root = r.group === '' ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`;
  const scope =
    r.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const tail = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  return `${root}${scope}/${r.plural}${tail}${subresource === undefined ? '' : `/${subresource}`}`;
}
