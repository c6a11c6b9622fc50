// Which resources exist: the built-in ones, and those that CustomResourceDefinitions add. The store
// asks it for storage versions, the API for discovery and routes.
import type { KubeObject, ResourceKey } from '../contract.ts';

export type Subresource =
  | 'status'
  | 'scale'
  | 'log'
  | 'exec'
  | 'attach'
  | 'portforward'
  | 'eviction'
  | 'token'
  | 'finalize';

/** A column of `kubectl get`, as a CRD declares it. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly priority?: number;
  readonly description?: string;
  readonly format?: string;
}

/** What a CustomResourceDefinition adds to a resource. */
export interface CustomResource {
  readonly crd: string;
  readonly schema: Readonly<Record<string, unknown>> | undefined;
  readonly columns: readonly PrinterColumn[];
  readonly scale:
    | { readonly spec: string; readonly status: string; readonly selector: string }
    | undefined;
}

/** One served version of a resource. */
export interface ResourceInfo {
  /** '' = the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly Subresource[];
  /** The key of the stored version: `apps/v1/deployments`. */
  readonly key: ResourceKey;
  readonly storageVersion: string;
  readonly custom: CustomResource | undefined;
}

/** `v1` or `group/version`. */
export function apiVersionOf(info: { readonly group: string; readonly version: string }): string {
  return info.group === '' ? info.version : `${info.group}/${info.version}`;
}

interface Row {
  readonly kind: string;
  readonly plural?: string;
  readonly short?: string;
  readonly sub?: string;
  readonly cluster?: true;
  readonly categories?: string;
}

const table: Readonly<Record<string, readonly Row[]>> = {
  v1: [
    { kind: 'Namespace', short: 'ns', sub: 'status finalize', cluster: true },
    { kind: 'Node', short: 'no', sub: 'status', cluster: true },
    {
      kind: 'Pod',
      short: 'po',
      sub: 'status log exec attach portforward eviction',
      categories: 'all',
    },
    { kind: 'Service', short: 'svc', sub: 'status', categories: 'all' },
    { kind: 'Endpoints', plural: 'endpoints', short: 'ep' },
    { kind: 'ConfigMap', short: 'cm' },
    { kind: 'Secret' },
    { kind: 'ServiceAccount', short: 'sa', sub: 'token' },
    { kind: 'Event', short: 'ev' },
    { kind: 'LimitRange', short: 'limits' },
    { kind: 'ResourceQuota', short: 'quota', sub: 'status' },
  ],
  'apps/v1': [
    { kind: 'Deployment', short: 'deploy', sub: 'status scale', categories: 'all' },
    { kind: 'ReplicaSet', short: 'rs', sub: 'status scale', categories: 'all' },
    { kind: 'DaemonSet', short: 'ds', sub: 'status', categories: 'all' },
  ],
  'autoscaling/v2': [
    { kind: 'HorizontalPodAutoscaler', short: 'hpa', sub: 'status', categories: 'all' },
  ],
  'policy/v1': [{ kind: 'PodDisruptionBudget', short: 'pdb', sub: 'status' }],
  'networking.k8s.io/v1': [{ kind: 'NetworkPolicy', plural: 'networkpolicies', short: 'netpol' }],
  'rbac.authorization.k8s.io/v1': [
    { kind: 'Role' },
    { kind: 'RoleBinding' },
    { kind: 'ClusterRole', cluster: true },
    { kind: 'ClusterRoleBinding', cluster: true },
  ],
  'discovery.k8s.io/v1': [{ kind: 'EndpointSlice' }],
  'coordination.k8s.io/v1': [{ kind: 'Lease' }],
  'apiextensions.k8s.io/v1': [
    {
      kind: 'CustomResourceDefinition',
      short: 'crd crds',
      sub: 'status',
      cluster: true,
      categories: 'api-extensions',
    },
  ],
};

const words = (text: string | undefined): string[] => (text ? text.split(' ') : []);

function builtin(apiVersion: string, row: Row): ResourceInfo {
  const slash = apiVersion.indexOf('/');
  const plural = row.plural ?? `${row.kind.toLowerCase()}s`;
  const version = apiVersion.slice(slash + 1);
  return {
    group: slash < 0 ? '' : apiVersion.slice(0, slash),
    version,
    plural,
    singular: row.kind === 'Endpoints' ? 'endpoints' : row.kind.toLowerCase(),
    kind: row.kind,
    listKind: `${row.kind}List`,
    namespaced: row.cluster !== true,
    shortNames: words(row.short),
    categories: words(row.categories),
    subresources: words(row.sub) as Subresource[],
    key: `${apiVersion}/${plural}`,
    storageVersion: version,
    custom: undefined,
  };
}

export const crdKey: ResourceKey = 'apiextensions.k8s.io/v1/customresourcedefinitions';
export const namespaceKey: ResourceKey = 'v1/namespaces';
export const podKey: ResourceKey = 'v1/pods';

/** The resources every sandbox has, before any CustomResourceDefinition. */
const builtinResources: readonly ResourceInfo[] = Object.entries(table).flatMap(
  ([apiVersion, rows]) => rows.map((row) => builtin(apiVersion, row)),
);

type Json = Readonly<Record<string, unknown>>;
const record = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

function customVersion(crd: KubeObject, version: Json, storageVersion: string): ResourceInfo {
  const spec = record(crd['spec']);
  const names = record(spec['names']);
  const group = text(spec['group']);
  const plural = text(names['plural']);
  const subresources = record(version['subresources']);
  const scale = record(subresources['scale']);
  const schema = record(version['schema'])['openAPIV3Schema'];
  return {
    group,
    version: text(version['name']),
    plural,
    singular: text(names['singular']) || text(names['kind']).toLowerCase(),
    kind: text(names['kind']),
    listKind: text(names['listKind']) || `${text(names['kind'])}List`,
    namespaced: spec['scope'] !== 'Cluster',
    shortNames: list(names['shortNames']).map(text),
    categories: list(names['categories']).map(text),
    subresources: (['status', 'scale'] as const).filter((s) => s in subresources),
    key: `${group}/${storageVersion}/${plural}`,
    storageVersion,
    custom: {
      crd: crd.metadata.name,
      schema: schema === undefined ? undefined : record(schema),
      columns: list(version['additionalPrinterColumns']) as PrinterColumn[],
      scale:
        'scale' in subresources
          ? {
              spec: text(scale['specReplicasPath']) || '.spec.replicas',
              status: text(scale['statusReplicasPath']) || '.status.replicas',
              selector: text(scale['labelSelectorPath']),
            }
          : undefined,
    },
  };
}

/** The served versions a CustomResourceDefinition declares; none if it has no storage version. */
function resourcesOfCrd(crd: KubeObject): ResourceInfo[] {
  const versions = list(record(crd['spec'])['versions']).map(record);
  const storage = versions.find((v) => v['storage'] === true);
  if (!storage) return [];
  return versions
    .filter((v) => v['served'] !== false)
    .map((v) => customVersion(crd, v, text(storage['name'])));
}

/** Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before other words. */
export function compareVersions(a: string, b: string): number {
  const rank = (v: string): number[] => {
    const m = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(v);
    if (!m) return [-1, 0, 0];
    const stage = m[2] === undefined ? 2 : m[2] === 'beta' ? 1 : 0;
    return [stage, Number(m[1]), Number(m[3] ?? 0)];
  };
  const x = rank(a);
  const y = rank(b);
  for (let i = 0; i < 3; i++) {
    const d = (y[i] ?? 0) - (x[i] ?? 0);
    if (d !== 0) return d;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

export interface Registry {
  /** Every served version of every resource, built-in first. */
  all(): readonly ResourceInfo[];
  /** One entry per resource (its storage version's): what namespace deletion walks over. */
  stored(): readonly ResourceInfo[];
  find(group: string, version: string, plural: string): ResourceInfo | undefined;
  /** By key, of any served version. */
  byKey(key: ResourceKey): ResourceInfo | undefined;
  byKind(apiVersion: string, kind: string): ResourceInfo | undefined;
}

/** A registry of the built-in resources that grows and shrinks with CRDs. */
export class ResourceRegistry implements Registry {
  readonly #byKey = new Map<string, ResourceInfo>(builtinResources.map((r) => [r.key, r]));
  readonly #byCrd = new Map<string, readonly ResourceInfo[]>();

  addCrd(crd: KubeObject): void {
    this.removeCrd(crd.metadata.name);
    const infos = resourcesOfCrd(crd).filter((r) => !this.#byKey.has(keyOf(r)));
    for (const info of infos) this.#byKey.set(keyOf(info), info);
    this.#byCrd.set(crd.metadata.name, infos);
  }

  removeCrd(name: string): void {
    for (const info of this.#byCrd.get(name) ?? []) this.#byKey.delete(keyOf(info));
    this.#byCrd.delete(name);
  }

  all(): readonly ResourceInfo[] {
    return [...this.#byKey.values()];
  }

  stored(): readonly ResourceInfo[] {
    const seen = new Map<string, ResourceInfo>();
    for (const r of this.#byKey.values()) {
      if (!seen.has(r.key) || r.version === r.storageVersion) seen.set(r.key, r);
    }
    return [...seen.values()];
  }

  find(group: string, version: string, plural: string): ResourceInfo | undefined {
    return this.#byKey.get(`${apiVersionOf({ group, version })}/${plural}`);
  }

  byKey(key: ResourceKey): ResourceInfo | undefined {
    const exact = this.#byKey.get(key);
    if (exact) return exact;
    const row = rowOf(key);
    for (const r of this.#byKey.values()) if (rowOf(r.key) === row) return r;
    return undefined;
  }

  byKind(apiVersion: string, kind: string): ResourceInfo | undefined {
    for (const r of this.#byKey.values()) {
      if (r.kind === kind && apiVersionOf(r) === apiVersion) return r;
    }
    return undefined;
  }
}

function keyOf(info: ResourceInfo): ResourceKey {
  return `${apiVersionOf(info)}/${info.plural}`;
}

/** `apps/v1/deployments` → `apps/deployments`: rows do not depend on versions. */
export function rowOf(key: ResourceKey): string {
  const parts = key.split('/');
  return parts.length === 3 ? `${parts[0]}/${parts[2]}` : (parts[1] ?? key);
}

/** The built-in resources alone; an open store has its own `registry` that also knows its CRDs. */
export const registry: Registry = new ResourceRegistry();
