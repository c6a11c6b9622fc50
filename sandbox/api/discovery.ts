// Discovery documents: which groups, versions and resources there are, in the aggregated (v2) and in
// the older form. Pure functions of the registry.
import { compareVersions, type Registry, type ResourceInfo } from '../store/index.ts';

const verbs = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
] as const;

/** Create-only resources: requests with an answer, nothing stored. */
export interface Review {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

const review = (group: string, kind: string, namespaced = false): Review => ({
  group: `${group}.k8s.io`,
  version: 'v1',
  plural: `${kind.toLowerCase()}s`,
  kind,
  namespaced,
});

export const reviews: readonly Review[] = [
  review('authentication', 'TokenReview'),
  review('authentication', 'SelfSubjectReview'),
  review('authorization', 'SelfSubjectAccessReview'),
  review('authorization', 'SelfSubjectRulesReview'),
  review('authorization', 'SubjectAccessReview'),
  review('authorization', 'LocalSubjectAccessReview', true),
];

const subresourceKinds: Readonly<Record<string, readonly [string, string, string]>> = {
  scale: ['autoscaling', 'v1', 'Scale'],
  token: ['authentication.k8s.io', 'v1', 'TokenRequest'],
  eviction: ['policy', 'v1', 'Eviction'],
  exec: ['', 'v1', 'PodExecOptions'],
  attach: ['', 'v1', 'PodAttachOptions'],
  portforward: ['', 'v1', 'PodPortForwardOptions'],
};

const subresourceVerbs: Readonly<Record<string, readonly string[]>> = {
  log: ['get'],
  exec: ['create', 'get'],
  attach: ['create', 'get'],
  portforward: ['create', 'get'],
  token: ['create'],
  eviction: ['create'],
  finalize: ['update'],
};

interface GroupVersion {
  readonly group: string;
  readonly version: string;
}

function kindOf(info: ResourceInfo, sub: string): GroupVersion & { readonly kind: string } {
  const [group, version, kind] = subresourceKinds[sub] ?? [info.group, info.version, info.kind];
  return { group, version, kind };
}

const verbsOf = (sub: string): readonly string[] =>
  subresourceVerbs[sub] ?? ['get', 'patch', 'update'];

function aggregatedResource(info: ResourceInfo): object {
  return {
    resource: info.plural,
    responseKind: { group: info.group, version: info.version, kind: info.kind },
    scope: info.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: info.singular,
    verbs,
    ...(info.shortNames.length ? { shortNames: info.shortNames } : {}),
    ...(info.categories.length ? { categories: info.categories } : {}),
    ...(info.subresources.length
      ? {
          subresources: info.subresources.map((sub) => ({
            subresource: sub,
            responseKind: kindOf(info, sub),
            verbs: verbsOf(sub),
          })),
        }
      : {}),
  };
}

function aggregatedReview(r: Review): object {
  return {
    resource: r.plural,
    responseKind: { group: r.group, version: r.version, kind: r.kind },
    scope: r.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: r.kind.toLowerCase(),
    verbs: ['create'],
  };
}

/** Groups in the order they were added, versions by Kubernetes' priority. '' is the core group. */
export function groupVersions(registry: Registry): Map<string, string[]> {
  const groups = new Map<string, Set<string>>();
  for (const { group, version } of [...registry.all(), ...reviews]) {
    const versions = groups.get(group) ?? new Set();
    groups.set(group, versions.add(version));
  }
  return new Map([...groups].map(([g, v]) => [g, [...v].toSorted(compareVersions)] as const));
}

function resourcesOf(registry: Registry, at: GroupVersion): [ResourceInfo[], Review[]] {
  const here = (r: GroupVersion) => r.group === at.group && r.version === at.version;
  return [registry.all().filter(here), reviews.filter(here)];
}

/** `APIGroupDiscoveryList`: `core` = what `/api` answers, else `/apis`. */
export function aggregated(registry: Registry, core: boolean): object {
  const groups = [...groupVersions(registry)].filter(([group]) => (group === '') === core);
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: 'apidiscovery.k8s.io/v2',
    metadata: {},
    items: groups.map(([group, versions]) => ({
      metadata: group === '' ? {} : { name: group },
      versions: versions.map((version) => {
        const [resources, asked] = resourcesOf(registry, { group, version });
        return {
          version,
          freshness: 'Current',
          resources: [...resources.map(aggregatedResource), ...asked.map(aggregatedReview)],
        };
      }),
    })),
  };
}

export function apiVersions(address: string): object {
  return {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
  };
}

function groupEntry(group: string, versions: readonly string[]): object {
  const entries = versions.map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions: entries, preferredVersion: entries[0] };
}

export function apiGroups(registry: Registry): object {
  const groups = [...groupVersions(registry)].filter(([group]) => group !== '');
  return {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: groups.map(([group, versions]) => groupEntry(group, versions)),
  };
}

export function apiGroup(registry: Registry, group: string): object | undefined {
  const versions = group === '' ? undefined : groupVersions(registry).get(group);
  if (!versions) return undefined;
  return { kind: 'APIGroup', apiVersion: 'v1', ...groupEntry(group, versions) };
}

function legacyResource(info: ResourceInfo): object[] {
  const main = {
    name: info.plural,
    singularName: info.singular,
    namespaced: info.namespaced,
    kind: info.kind,
    verbs,
    ...(info.shortNames.length ? { shortNames: info.shortNames } : {}),
    ...(info.categories.length ? { categories: info.categories } : {}),
  };
  const subs = info.subresources.map((sub) => {
    const { group, version, kind } = kindOf(info, sub);
    const elsewhere = group !== info.group || version !== info.version;
    return {
      name: `${info.plural}/${sub}`,
      singularName: '',
      namespaced: info.namespaced,
      kind,
      verbs: verbsOf(sub),
      ...(elsewhere ? { group, version } : {}),
    };
  });
  return [main, ...subs];
}

/** `APIResourceList` of one version; undefined if there is no such group version. */
export function apiResources(registry: Registry, at: GroupVersion): object | undefined {
  if (!groupVersions(registry).get(at.group)?.includes(at.version)) return undefined;
  const [resources, asked] = resourcesOf(registry, at);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: at.group === '' ? at.version : `${at.group}/${at.version}`,
    resources: [
      ...resources.flatMap(legacyResource),
      ...asked.map((r) => ({
        name: r.plural,
        singularName: r.kind.toLowerCase(),
        namespaced: r.namespaced,
        kind: r.kind,
        verbs: ['create'],
      })),
    ],
  };
}

/** What `/version` says. v1.33, because packaged kubectls pick the client that fits it. */
export const versionInfo = {
  major: '1',
  minor: '33',
  gitVersion: 'v1.33.0-ambient-lite',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '2026-01-01T00:00:00Z',
  goVersion: 'none',
  compiler: 'node',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
} as const;
