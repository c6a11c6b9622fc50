// Who is in the mesh here: the common rule, and the sandbox's own pods that are not captured. Pure.
import { wantsMesh } from '../../core/model/index.ts';
import { sandboxKeys } from '../contract.ts';
import { isTerminal, type Pod } from '../objects.ts';

export { redirectionKey } from '../../core/model/index.ts';

export function isWanted(
  pod: Pod,
  namespaceLabels: Readonly<Record<string, string>> | undefined,
): boolean {
  const { labels, annotations, namespace = '' } = pod.metadata;
  if (annotations?.[sandboxKeys.network] === 'host') return false;
  const hostNetwork = pod.spec.hostNetwork === true;
  const facts = { namespace, labels, annotations, hostNetwork, ended: isTerminal(pod) };
  return wantsMesh(facts, namespaceLabels);
}
