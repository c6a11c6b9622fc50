// References to workloads as people type them: pod/x, deploy/x, ds/x, svc/x, or a bare pod name, each with
// an optional .namespace; resolved to a running pod.
import { type KubeClient, type KubeObject, type Resource, resources } from '../core/kube/index.ts';
import { CliError } from './errors.ts';

export interface Reference {
  readonly kind: 'pod' | 'deployment' | 'daemonset' | 'service' | 'any';
  readonly name: string;
  readonly namespace: string;
}

const kinds = new Map<string, Reference['kind']>([
  ['pod', 'pod'],
  ['pods', 'pod'],
  ['po', 'pod'],
  ['deploy', 'deployment'],
  ['deployment', 'deployment'],
  ['deployments', 'deployment'],
  ['ds', 'daemonset'],
  ['daemonset', 'daemonset'],
  ['svc', 'service'],
  ['service', 'service'],
  ['services', 'service'],
]);

/** Pure. Throws CliError for kinds it does not know and empty names. */
export function parseReference(text: string, namespace: string): Reference {
  const slash = text.indexOf('/');
  const kindText = slash < 0 ? '' : text.slice(0, slash);
  const kind = slash < 0 ? 'any' : kinds.get(kindText.toLowerCase());
  if (!kind) {
    throw new CliError(
      `"${text}": kind "${kindText}" is not known; use pod/, deploy/, ds/ or svc/`,
    );
  }
  const rest = text.slice(slash + 1);
  const dot = rest.indexOf('.');
  const name = dot < 0 ? rest : rest.slice(0, dot);
  if (name === '' || rest.includes('/')) throw new CliError(`"${text}" names no object`);
  return { kind, name, namespace: dot < 0 ? namespace : rest.slice(dot + 1) };
}

interface PodStatus {
  readonly phase?: string;
  readonly podIP?: string;
}

export const podStatus = (p: KubeObject): PodStatus => (p['status'] ?? {}) as PodStatus;

export const podSpec = (p: KubeObject): { nodeName?: string; serviceAccountName?: string } =>
  (p['spec'] ?? {}) as { nodeName?: string; serviceAccountName?: string };

const isReady = (p: KubeObject): boolean =>
  (
    (p['status'] as { conditions?: { type: string; status: string }[] } | undefined)?.conditions ??
    []
  ).some((c) => c.type === 'Ready' && c.status === 'True');

function selectorOf(o: KubeObject, service: boolean): string {
  const spec = o['spec'] as { selector?: Record<string, unknown> } | undefined;
  const labels = service
    ? spec?.selector
    : (spec?.selector?.['matchLabels'] as Record<string, unknown>);
  return Object.entries(labels ?? {})
    .map(([k, v]) => `${k}=${String(v)}`)
    .join(',');
}

async function podBehind(
  kube: KubeClient,
  resource: Resource,
  r: Reference,
  word: string,
): Promise<KubeObject> {
  const owner = await kube.get(resource, r.namespace, r.name);
  if (!owner) throw new CliError(`${word} "${r.name}" not found in namespace "${r.namespace}"`);
  const labelSelector = selectorOf(owner, resource === resources.services);
  if (labelSelector === '') throw new CliError(`${word} "${r.name}" selects no pods`);
  const { items } = await kube.list(resources.pods, r.namespace, { labelSelector });
  const alive = items.filter((p) => p.metadata.deletionTimestamp === undefined);
  const pod = alive.find(isReady) ?? alive.find((p) => podStatus(p).phase === 'Running');
  if (!pod)
    throw new CliError(`${word} "${r.name}" in namespace "${r.namespace}" has no running pod`);
  return pod;
}

/** The pod behind a reference; a bare name is a pod, else a deployment. */
export async function resolvePod(kube: KubeClient, r: Reference): Promise<KubeObject> {
  switch (r.kind) {
    case 'deployment':
      return podBehind(kube, resources.deployments, r, 'deployment');
    case 'daemonset':
      return podBehind(kube, resources.daemonSets, r, 'daemonset');
    case 'service':
      return podBehind(kube, resources.services, r, 'service');
    case 'pod':
    case 'any': {
      const pod = await kube.get(resources.pods, r.namespace, r.name);
      if (pod) return pod;
      if (r.kind === 'any' && (await kube.get(resources.deployments, r.namespace, r.name))) {
        return podBehind(kube, resources.deployments, r, 'deployment');
      }
      throw new CliError(`pod "${r.name}" not found in namespace "${r.namespace}"`);
    }
  }
}

export interface ZtunnelPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
}

/** All ztunnel pods: by the label the mesh's own tools insist on. */
export async function ztunnelPods(kube: KubeClient, istioNamespace: string): Promise<ZtunnelPod[]> {
  const { items } = await kube.list(resources.pods, istioNamespace, {
    labelSelector: 'app=ztunnel',
  });
  return items
    .filter((p) => podStatus(p).phase === 'Running' && p.metadata.deletionTimestamp === undefined)
    .map((p) => ({
      namespace: p.metadata.namespace ?? istioNamespace,
      name: p.metadata.name,
      node: podSpec(p).nodeName ?? '',
    }));
}

export const adminPort = 15_000;
