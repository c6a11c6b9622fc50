// Removes objects whose owners are gone. Keeps an index from owner to dependents, since the store
// has none; an owner that never existed (an id from another run) counts as gone.
import type { Log } from '../../core/base/index.ts';
import type { KubeObject, ResourceKey, Store } from '../contract.ts';
import type { Resources } from './cluster.ts';

interface Ref {
  readonly resource: ResourceKey;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly owners: readonly string[];
}

export function runGarbageCollection(
  store: Store,
  resources: Resources,
  log: Log,
): { stop(): void } {
  const alive = new Set<string>();
  const refs = new Map<string, Ref>(); // by the dependent's uid
  const dependents = new Map<string, Set<string>>(); // owner's uid → dependents' uids
  let scheduled: NodeJS.Immediate | undefined;
  const gone = new Set<string>();

  const note = (resource: ResourceKey, object: KubeObject): void => {
    const { uid, namespace, name, ownerReferences = [] } = object.metadata;
    if (!uid) return;
    alive.add(uid);
    const owners = ownerReferences.map((o) => o.uid);
    forget(uid);
    if (owners.length === 0) return;
    refs.set(uid, { resource, namespace, name, owners });
    for (const owner of owners) {
      const set = dependents.get(owner) ?? new Set();
      dependents.set(owner, set.add(uid));
      // Owned by something that went before: collect it too.
      if (!alive.has(owner)) schedule(owner);
    }
  };
  const forget = (uid: string): void => {
    for (const owner of refs.get(uid)?.owners ?? []) {
      const set = dependents.get(owner);
      set?.delete(uid);
      if (set?.size === 0) dependents.delete(owner);
    }
    refs.delete(uid);
  };
  const schedule = (owner: string): void => {
    gone.add(owner);
    scheduled ??= setImmediate(collect);
  };
  function collect(): void {
    scheduled = undefined;
    const owners = [...gone];
    gone.clear();
    for (const owner of owners) {
      for (const uid of dependents.get(owner) ?? []) {
        const ref = refs.get(uid);
        if (!ref || ref.owners.some((o) => alive.has(o))) continue;
        try {
          store.remove(ref.resource, ref.namespace, ref.name, { uid });
        } catch (error) {
          log.debug('not collected', { resource: ref.resource, error: String(error) });
        }
      }
    }
  }

  for (const { key } of resources.stored()) {
    for (const object of store.list(key).items)
      if (object.metadata.uid) alive.add(object.metadata.uid);
  }
  for (const { key } of resources.stored()) {
    for (const object of store.list(key).items) note(key, object);
  }
  const off = store.watch('*', (event) => {
    if (event.type !== 'DELETED') return note(event.resource, event.object);
    const { uid } = event.object.metadata;
    if (!uid) return;
    alive.delete(uid);
    forget(uid);
    if (dependents.has(uid)) schedule(uid);
  });
  return {
    stop() {
      off();
      if (scheduled) clearImmediate(scheduled);
    },
  };
}
