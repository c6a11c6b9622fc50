// Wildcard hosts (`*.example.com`): the name that a request or a hello means, and whether it may be meant here
// (waypoint-l7.md 1.4, 11).
import { hostMatches, hostOf, namespacedHost } from '../../core/model/index.ts';
import type { MeshView } from '../../core/model/index.ts';
import type { Cluster } from './cluster.ts';

const isLabel = (l: string): boolean => /^[a-z0-9_-]{1,63}$/.test(l);

/** The name of an authority or hello under the pattern; `undefined` = none, or none of it. */
export function nameUnder(pattern: string, authority: string): string | undefined {
  const name = hostOf(authority);
  const fits = name.length <= 253 && hostMatches(pattern, name) && name.split('.').every(isLabel);
  return fits ? name : undefined;
}

/** What the namespace says of the name itself, or of a narrower pattern, is not gone around by a wider one. */
function isSpokenFor(view: MeshView, namespace: string, pattern: string, name: string): boolean {
  const labels = name.split('.');
  const narrower = labels.map((_, i) => (i === 0 ? name : `*.${labels.slice(i).join('.')}`));
  return narrower
    .filter((p) => p.length > pattern.length || p === name)
    .some((p) => p !== pattern && view.service(namespacedHost(namespace, p)) !== undefined);
}

/** The cluster for one name; one that is no wildcard as it is. `undefined` = the name is not its own. */
export function forName(view: MeshView, c: Cluster, authority: string): Cluster | undefined {
  const { wildcard } = c;
  if (wildcard === undefined) return c;
  const name = nameUnder(wildcard, authority);
  const namespace = c.service.slice(0, c.service.indexOf('/'));
  if (name === undefined || isSpokenFor(view, namespace, wildcard, name)) return undefined;
  return { ...c, name };
}
