// What a check looks at, read from the API server once. Whatever may not be read is absent, and the check says so.
import {
  type KubeClient,
  KubeError,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import { readSource } from '../install/render.ts';

export interface Facts {
  readonly namespace: string;
  readonly version: {
    readonly major?: string;
    readonly minor?: string;
    readonly gitVersion?: string;
  };
  readonly namespaces: readonly KubeObject[];
  readonly nodes: readonly KubeObject[];
  readonly crds: readonly KubeObject[];
  /** Names of the kinds that an installation brings. */
  readonly ownKinds: readonly string[];
  readonly deployments: readonly KubeObject[];
  readonly daemonSets: readonly KubeObject[];
  readonly pods: readonly KubeObject[];
  readonly networkPolicies: readonly KubeObject[];
  readonly rootMaps: readonly KubeObject[];
  readonly ciliumConfig: Readonly<Record<string, string>> | undefined;
  readonly quotas: readonly KubeObject[];
  /** `verb resource` that the user may not. */
  readonly denied: readonly string[];
  /** What could not be read, with the reason. */
  readonly unread: readonly string[];
}

const extra = (group: string, plural: string, kind: string): Resource => ({
  group,
  version: 'v1',
  plural,
  kind,
  namespaced: true,
});

/** What an installation creates, by the rights that an ordinary user lacks. */
const needed: readonly (readonly [verb: string, group: string, resource: string])[] = [
  ['patch', 'apiextensions.k8s.io', 'customresourcedefinitions'],
  ['patch', '', 'namespaces'],
  ['patch', '', 'serviceaccounts'],
  ['patch', 'rbac.authorization.k8s.io', 'clusterroles'],
  ['escalate', 'rbac.authorization.k8s.io', 'clusterroles'],
  ['patch', 'rbac.authorization.k8s.io', 'clusterrolebindings'],
  ['patch', 'apps', 'deployments'],
  ['patch', 'apps', 'daemonsets'],
];

async function deniedRights(kube: KubeClient, namespace: string): Promise<string[]> {
  const out: string[] = [];
  for (const [verb, group, resource] of needed) {
    const review = (await kube.raw(
      'POST',
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb, group, resource, namespace } },
      },
    )) as { status?: { allowed?: boolean } };
    if (review.status?.allowed === false) out.push(`${verb} ${resource}${group && `.${group}`}`);
  }
  return out;
}

export async function readFacts(kube: KubeClient, namespace: string): Promise<Facts> {
  const unread: string[] = [];
  const attempt = async <T>(what: string, fallback: T, read: () => Promise<T>): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof KubeError) || error.code === 0) throw error;
      if (error.code !== 404) unread.push(`${what}: ${error.message}`);
      return fallback;
    }
  };
  const list = (
    r: Resource,
    at?: string,
    query?: { fieldSelector: string },
  ): Promise<KubeObject[]> =>
    attempt(r.plural, [], async () => [...(await kube.list(r, at, query)).items]);
  const cilium = await attempt('ConfigMap cilium-config', undefined, () =>
    kube.get(resources.configMaps, 'kube-system', 'cilium-config'),
  );
  return {
    namespace,
    version: (await kube.raw('GET', '/version')) as Facts['version'],
    namespaces: await list(resources.namespaces),
    nodes: await list(resources.nodes),
    crds: await list(resources.customResourceDefinitions),
    ownKinds: readSource().crds.map((o) => o.metadata.name),
    deployments: await list(resources.deployments, namespace),
    daemonSets: await list(resources.daemonSets),
    pods: await list(resources.pods),
    networkPolicies: await list(extra('networking.k8s.io', 'networkpolicies', 'NetworkPolicy')),
    rootMaps: await list(resources.configMaps, undefined, {
      fieldSelector: 'metadata.name=istio-ca-root-cert',
    }),
    ciliumConfig: cilium?.['data'] as Record<string, string> | undefined,
    quotas: await list(extra('', 'resourcequotas', 'ResourceQuota'), namespace),
    denied: await attempt('own rights', [], () => deniedRights(kube, namespace)),
    unread,
  };
}
