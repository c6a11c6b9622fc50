// The Kubernetes objects that the runner acts on, as far as it reads and writes them. Everything
// else in them passes through untouched. Types, resource keys and small readers; pure.
import type { KubeObject, ObjectMeta, ResourceKey } from './contract.ts';

export const keys = {
  namespaces: 'v1/namespaces',
  nodes: 'v1/nodes',
  pods: 'v1/pods',
  services: 'v1/services',
  endpoints: 'v1/endpoints',
  configMaps: 'v1/configmaps',
  secrets: 'v1/secrets',
  serviceAccounts: 'v1/serviceaccounts',
  events: 'v1/events',
  deployments: 'apps/v1/deployments',
  replicaSets: 'apps/v1/replicasets',
  daemonSets: 'apps/v1/daemonsets',
  endpointSlices: 'discovery.k8s.io/v1/endpointslices',
  serviceEntries: 'networking.istio.io/v1/serviceentries',
} as const satisfies Record<string, ResourceKey>;

/** The one node. */
export const nodeName = 'sandbox';

export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface Probe {
  httpGet?: {
    path?: string;
    port: number | string;
    host?: string;
    scheme?: string;
    httpHeaders?: { name: string; value: string }[];
  };
  tcpSocket?: { port: number | string; host?: string };
  exec?: { command?: string[] };
  grpc?: { port: number };
  initialDelaySeconds?: number;
  periodSeconds?: number;
  timeoutSeconds?: number;
  successThreshold?: number;
  failureThreshold?: number;
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: {
    fieldRef?: { fieldPath: string };
    resourceFieldRef?: { resource: string };
    configMapKeyRef?: { name?: string; key: string; optional?: boolean };
    secretKeyRef?: { name?: string; key: string; optional?: boolean };
  };
}

export interface Container {
  name: string;
  image?: string;
  command?: string[];
  args?: string[];
  workingDir?: string;
  env?: EnvVar[];
  envFrom?: {
    prefix?: string;
    configMapRef?: { name?: string; optional?: boolean };
    secretRef?: { name?: string; optional?: boolean };
  }[];
  ports?: { name?: string; containerPort: number; protocol?: string }[];
  volumeMounts?: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[];
  startupProbe?: Probe;
  readinessProbe?: Probe;
  livenessProbe?: Probe;
  lifecycle?: { preStop?: unknown; postStart?: unknown };
  restartPolicy?: string;
}

export interface KeyToPath {
  key: string;
  path: string;
}

export interface VolumeSource {
  configMap?: { name?: string; items?: KeyToPath[]; optional?: boolean };
  secret?: { secretName?: string; name?: string; items?: KeyToPath[]; optional?: boolean };
  downwardAPI?: { items?: { path: string; fieldRef?: { fieldPath: string } }[] };
  serviceAccountToken?: { audience?: string; expirationSeconds?: number; path: string };
}

export interface Volume extends VolumeSource {
  name: string;
  emptyDir?: unknown;
  projected?: { sources?: VolumeSource[] };
  [other: string]: unknown;
}

export interface PodSpec {
  containers: Container[];
  initContainers?: Container[];
  volumes?: Volume[];
  nodeName?: string;
  serviceAccountName?: string;
  serviceAccount?: string;
  automountServiceAccountToken?: boolean;
  restartPolicy?: string;
  terminationGracePeriodSeconds?: number;
  hostNetwork?: boolean;
  hostname?: string;
  subdomain?: string;
  nodeSelector?: Record<string, string>;
}

export interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
  lastUpdateTime?: string;
}

export interface ContainerState {
  waiting?: { reason: string; message?: string };
  running?: { startedAt: string };
  terminated?: {
    exitCode: number;
    signal?: number;
    reason: string;
    message?: string;
    startedAt?: string;
    finishedAt?: string;
    containerID?: string;
  };
}

export interface ContainerStatus {
  name: string;
  image: string;
  imageID: string;
  containerID?: string;
  ready: boolean;
  started: boolean;
  restartCount: number;
  state: ContainerState;
  lastState: ContainerState;
}

export interface PodStatus {
  phase?: string;
  podIP?: string;
  podIPs?: { ip: string }[];
  hostIP?: string;
  hostIPs?: { ip: string }[];
  startTime?: string;
  reason?: string;
  message?: string;
  qosClass?: string;
  conditions?: Condition[];
  containerStatuses?: ContainerStatus[];
  initContainerStatuses?: ContainerStatus[];
}

export interface PodTemplate {
  metadata?: Partial<ObjectMeta>;
  spec: PodSpec;
}

interface Kind<S, T> {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec: S;
  status?: T;
}

export type Pod = Kind<PodSpec, PodStatus>;

export interface RollingUpdate {
  maxSurge?: number | string;
  maxUnavailable?: number | string;
}

export type Deployment = Kind<
  {
    replicas?: number;
    paused?: boolean;
    minReadySeconds?: number;
    revisionHistoryLimit?: number;
    progressDeadlineSeconds?: number;
    selector: LabelSelector;
    strategy?: { type?: string; rollingUpdate?: RollingUpdate };
    template: PodTemplate;
  },
  Record<string, unknown> & { conditions?: Condition[] }
>;

export interface ReplicaSetStatus {
  replicas?: number;
  readyReplicas?: number;
  availableReplicas?: number;
  fullyLabeledReplicas?: number;
  observedGeneration?: number;
}

export type ReplicaSet = Kind<
  { replicas?: number; selector: LabelSelector; template: PodTemplate },
  ReplicaSetStatus
>;

export type DaemonSet = Kind<
  {
    selector: LabelSelector;
    template: PodTemplate;
    updateStrategy?: { type?: string; rollingUpdate?: RollingUpdate };
  },
  Record<string, unknown>
>;

export interface ServicePort {
  name?: string;
  port: number;
  protocol?: string;
  targetPort?: number | string;
  appProtocol?: string;
  nodePort?: number;
}

export type Service = Kind<
  {
    type?: string;
    clusterIP?: string;
    clusterIPs?: string[];
    ports?: ServicePort[];
    selector?: Record<string, string>;
    publishNotReadyAddresses?: boolean;
    [more: string]: unknown;
  },
  Record<string, unknown>
>;

export interface SliceEndpoint {
  addresses: string[];
  conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean };
  nodeName?: string;
  targetRef?: { kind: string; name: string; namespace: string; uid: string };
}

export interface EndpointSlice extends KubeObject {
  addressType: string;
  endpoints: SliceEndpoint[];
  ports: { name?: string; port?: number; protocol?: string; appProtocol?: string }[];
}

/** Sees a stored object as its kind. */
export const as = <T>(object: KubeObject): T => object as unknown as T;

export const isReady = (pod: Pod): boolean =>
  pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;

export const isTerminal = (pod: Pod): boolean =>
  pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';

export const isDeleting = (object: { metadata: ObjectMeta }): boolean =>
  object.metadata.deletionTimestamp !== undefined;

/** The object that controls this one, if any. */
export function controllerOf(object: {
  metadata: ObjectMeta;
}): { kind: string; name: string; uid: string } | undefined {
  return object.metadata.ownerReferences?.find((o) => o.controller === true);
}

/** Whether all of `selector` are among `labels`; an empty selector selects nothing. */
export function selects(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([k, v]) => labels?.[k] === v);
}

/** Sets a condition; `lastTransitionTime` moves only when the status does. */
export function setCondition(
  conditions: readonly Condition[],
  condition: Condition,
  time: string,
): Condition[] {
  const old = conditions.find((c) => c.type === condition.type);
  const since = old?.status === condition.status ? (old.lastTransitionTime ?? time) : time;
  const next = { ...condition, lastTransitionTime: since };
  if (!old) return [...conditions, next];
  return conditions.map((c) => (c.type === condition.type ? next : c));
}

export const accountOf = (spec: PodSpec): string =>
  spec.serviceAccountName || spec.serviceAccount || 'default';

/** `2026-01-01T00:00:00Z`. */
export const timeText = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** Of Istio: names outside, and the addresses given to them. */
export interface ServiceEntry extends KubeObject {
  spec?: { hosts?: string[]; addresses?: string[] };
  status?: { addresses?: { value?: string; host?: string }[] };
}
