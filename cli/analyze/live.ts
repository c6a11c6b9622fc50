// Every object an analysis looks at, listed from an API server. Kinds it does not serve are left out.
import { type KubeClient, KubeError, type Resource, resources } from '../../core/kube/index.ts';
import type { Loaded } from './snapshot.ts';

const extra = (group: string, version: string, plural: string, kind: string): Resource => ({
  group,
  version,
  plural,
  kind,
  namespaced: true,
});

/** Kinds that nothing else of the mesh reads. */
const others: readonly Resource[] = [
  extra('apps', 'v1', 'statefulsets', 'StatefulSet'),
  extra('batch', 'v1', 'jobs', 'Job'),
  extra('networking.k8s.io', 'v1', 'networkpolicies', 'NetworkPolicy'),
  extra('networking.istio.io', 'v1', 'virtualservices', 'VirtualService'),
  extra('networking.istio.io', 'v1', 'destinationrules', 'DestinationRule'),
  extra('networking.istio.io', 'v1', 'gateways', 'Gateway'),
  extra('networking.istio.io', 'v1', 'sidecars', 'Sidecar'),
  extra('networking.istio.io', 'v1alpha3', 'envoyfilters', 'EnvoyFilter'),
  extra('networking.istio.io', 'v1', 'workloadgroups', 'WorkloadGroup'),
  extra('networking.istio.io', 'v1beta1', 'proxyconfigs', 'ProxyConfig'),
  extra('extensions.istio.io', 'v1alpha1', 'wasmplugins', 'WasmPlugin'),
];
/** Too many, secret, or of no interest. */
const skipped: ReadonlySet<Resource> = new Set<Resource>([
  resources.configMaps,
  resources.secrets,
  resources.events,
  resources.leases,
  resources.replicaSets,
  resources.customResourceDefinitions,
]);

async function listKind(kube: KubeClient, r: Resource): Promise<Loaded[]> {
  try {
    const { items } = await kube.list(r);
    // The items of a list name no kind.
    const apiVersion = r.group === '' ? r.version : `${r.group}/${r.version}`;
    return items.map((o) => ({ object: { ...o, apiVersion, kind: r.kind } }));
  } catch (error) {
    if (error instanceof KubeError && (error.code === 404 || error.code === 403)) return [];
    throw error;
  }
}

export async function loadLive(kube: KubeClient): Promise<Loaded[]> {
  const known = new Map<string, Resource>();
  for (const r of [...Object.values<Resource>(resources), ...others])
    if (!skipped.has(r)) known.set(`${r.group}/${r.plural}`, r);
  const lists = await Promise.all([...known.values()].map((r) => listKind(kube, r)));
  return lists.flat();
}
