// Which pods are to be in the mesh: the labels of pod and namespace and the standing exclusions
// (control-plane.md 1.3). The same for every way of capture.

export const modeLabel = 'istio.io/dataplane-mode';
export const redirectionKey = 'ambient.istio.io/redirection';

export interface EnrolmentFacts {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
  readonly hostNetwork: boolean;
  /** Succeeded or Failed. */
  readonly ended: boolean;
}

export const excludedNamespaces: ReadonlySet<string> = new Set(['kube-system']);

/** The `pod` label beats the namespace's; some pods never are. */
export function wantsMesh(
  pod: EnrolmentFacts,
  namespaceLabels: Readonly<Record<string, string>> | undefined,
  excluded: ReadonlySet<string> = excludedNamespaces,
): boolean {
  const { labels, annotations, namespace } = pod;
  if (pod.hostNetwork || pod.ended || excluded.has(namespace)) return false;
  if (annotations?.['sidecar.istio.io/status'] !== undefined) return false;
  if (namespace === 'istio-system' && labels?.['app'] === 'ztunnel') return false;
  const own = labels?.[modeLabel];
  if (own === 'ambient') return true;
  return own !== 'none' && namespaceLabels?.[modeLabel] === 'ambient';
}
