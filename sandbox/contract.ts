// What the sandbox's parts promise each other. Three parts, each behind its own door:
//   store/       objects, versions, watches, in node:sqlite          (implements Store)
//   api/         the Kubernetes REST surface over a Store             (uses Store, PodRuntime, Tokens)
//   controllers/ kubelet/ enrol/ loopback/  what makes pods run       (uses Store; implements PodRuntime)
import type { Duplex, Readable, Writable } from 'node:stream';

export interface ObjectMeta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  [more: string]: unknown;
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Any Kubernetes object, as stored: its final JSON. Treat what the store hands out as read-only. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** `v1/pods`, `apps/v1/deployments`, `security.istio.io/v1/authorizationpolicies`: version as stored. */
export type ResourceKey = string;

export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly resource: ResourceKey;
  readonly object: KubeObject;
  readonly revision: number;
}

export interface ListQuery {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

/** A refusal with its Kubernetes `Status`: code 404 NotFound, 409 Conflict or AlreadyExists, 422 Invalid, 410 Expired … */
export interface StatusError extends Error {
  readonly status: { code: number; reason: string; message: string; details?: unknown };
}

/**
 * Synchronous: every call is one SQLite transaction. Listeners run after the commit, in revision
 * order, in the same tick; a listener that throws is logged and skipped.
 */
export interface Store {
  get(resource: ResourceKey, namespace: string | undefined, name: string): KubeObject | undefined;
  list(resource: ResourceKey, query?: ListQuery): { items: KubeObject[]; revision: number };
  /** Sets uid, creationTimestamp, generation, resourceVersion; resolves generateName. Throws StatusError 409. */
  create(resource: ResourceKey, object: KubeObject): KubeObject;
  /**
   * Replaces. A `metadata.resourceVersion` in `object` must match (409 Conflict), absent = last write
   * wins. `status: true` writes only `.status` and metadata's labels/annotations (kubelet, controllers);
   * otherwise `.status` is kept and `generation` grows when the spec changed. Equal content writes nothing.
   */
  update(resource: ResourceKey, object: KubeObject, how?: { status?: boolean }): KubeObject;
  /** Reads, changes a deep copy by `change`, writes; retries on conflict; undefined if the object is gone. */
  modify(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    change: (object: KubeObject) => void,
    how?: { status?: boolean },
  ): KubeObject | undefined;
  /**
   * Kubernetes' deletion: with finalizers, or for pods with a grace period > 0, only deletionTimestamp
   * is set; the kubelet ends the pod and calls again with graceSeconds 0. Namespaces get phase
   * Terminating and are removed by their controller. `uid` is a precondition (409).
   */
  remove(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    how?: {
      graceSeconds?: number;
      uid?: string;
      propagation?: 'Background' | 'Foreground' | 'Orphan';
    },
  ): KubeObject | undefined;
  /** All events of a resource (`'*'` = every one) from now on. */
  watch(resource: ResourceKey, listener: (event: StoreEvent) => void): () => void;
}

export interface ExecSession {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves after the process ended: exit code, or 128 + signal number. */
  readonly exit: Promise<number>;
  kill(): void;
}

/** What the API needs of whoever runs the pods. Methods throw StatusError for unknown pods and containers. */
export interface PodRuntime {
  /** Log lines as RFC 3339 nanosecond timestamp + space + text + newline if `timestamps`, else text. */
  logs(
    namespace: string,
    pod: string,
    options: {
      container?: string;
      follow?: boolean;
      tailLines?: number;
      sinceSeconds?: number;
      sinceTime?: string;
      timestamps?: boolean;
      previous?: boolean;
      limitBytes?: number;
    },
  ): Readable;
  exec(
    namespace: string,
    pod: string,
    options: { container?: string; command: readonly string[]; stdin: boolean; tty: boolean },
  ): Promise<ExecSession>;
  /** A connection to the pod's own address, as kubectl port-forward makes it: never captured. */
  dial(namespace: string, pod: string, port: number): Promise<Duplex>;
}

/** What a bound service-account token says (sandbox.md D7). */
export interface TokenClaims {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly serviceAccountUid: string;
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  readonly pod?: { readonly name: string; readonly uid: string };
  readonly node?: { readonly name: string; readonly uid: string };
}

export interface Tokens {
  /** An ES256 JWT signed by the sandbox. */
  issue(claims: TokenClaims): Promise<{ token: string; expiresAt: Date }>;
}

/** Labels and annotations of the sandbox's own. */
export const sandboxKeys = {
  /** `host`: the pod's processes are not captured (mesh programs). */
  network: 'sandbox.ambientlite.dev/network',
  /** Fixed host number of the pod's address inside the sandbox's block, e.g. `2` → 127.B.0.2. */
  hostNumber: 'sandbox.ambientlite.dev/host-number',
} as const;
