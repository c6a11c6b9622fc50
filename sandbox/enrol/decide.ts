// Who is in the mesh: the labels of pod and namespace and the standing exclusions
// (control-plane.md 1.3). Pure.
import { sandboxKeys } from '../contract.ts';
import { isTerminal, type Pod } from '../objects.ts';

export const modeLabel = 'istio.io/dataplane-mode';
export const redirectionKey = 'ambient.istio.io/redirection';
const excludedNamespaces = new Set(['kube-system']);

type Labels = Readonly<Record<string, string>> | undefined;

/** `pod` label beats the namespace's; some pods never are. */
export function isWanted(pod: Pod, namespaceLabels: Labels): boolean {
  const { labels, annotations, namespace = '' } = pod.metadata;
  if (pod.spec.hostNetwork === true) return false;
  if (annotations?.[sandboxKeys.network] === 'host') return false;
  if (annotations?.['sidecar.istio.io/status'] !== undefined) return false;
  if (excludedNamespaces.has(namespace) || isTerminal(pod)) return false;
  if (namespace === 'istio-system' && labels?.['app'] === 'ztunnel') return false;
  const own = labels?.[modeLabel];
  if (own === 'ambient') return true;
  return own !== 'none' && namespaceLabels?.[modeLabel] === 'ambient';
}
