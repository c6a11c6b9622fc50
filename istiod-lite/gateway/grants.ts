// ReferenceGrant: who may refer to what in another namespace (Gateway API).
import type { World } from './binding.ts';
import type { ObjectRef } from './objects.ts';

const sameKind = (
  a: Pick<ObjectRef, 'group' | 'kind'>,
  b: Pick<ObjectRef, 'group' | 'kind'>,
): boolean => a.group === b.group && a.kind === b.kind;

/** Always, within one namespace. */
export function permits(
  world: World,
  from: Pick<ObjectRef, 'group' | 'kind' | 'namespace'>,
  to: ObjectRef,
): boolean {
  if (from.namespace === to.namespace) return true;
  for (const g of world.gateways.grants.values()) {
    if (g.namespace !== to.namespace) continue;
    const fits = g.from.some((f) => sameKind(f, from) && f.namespace === from.namespace);
    if (fits && g.to.some((t) => sameKind(t, to) && (t.name === '' || t.name === to.name)))
      return true;
  }
  return false;
}
