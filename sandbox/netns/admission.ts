// Holds a new pod of the mesh back until the node agent has brought it in: it never starts outside.
import type { Store } from '../contract.ts';
import type { Recorder } from '../controllers/index.ts';
import { isWanted, redirectionKey } from '../enrol/index.ts';
import { as, keys, type Pod } from '../objects.ts';

export const isEnrolled = (pod: Pod): boolean =>
  pod.metadata.annotations?.[redirectionKey] === 'enabled';

/** Resolves when the pod may start, or has gone. */
export function admitted(
  store: Store,
  recorder: Recorder,
  pod: Pod,
  signal: AbortSignal,
): Promise<void> {
  const { namespace = '', name, uid } = pod.metadata;
  const mayStart = (): boolean => {
    const found = store.get(keys.pods, namespace, name);
    if (!found || found.metadata.uid !== uid) return true;
    const home = store.get(keys.namespaces, undefined, namespace);
    return !isWanted(as<Pod>(found), home?.metadata.labels) || isEnrolled(as<Pod>(found));
  };
  if (signal.aborted || mayStart()) return Promise.resolve();
  const why = 'waits for the node agent: a pod of the mesh does not start outside of it';
  recorder.event(pod, 'Normal', 'WaitingForMesh', why);
  return new Promise((resolve) => {
    const look = (): void => {
      if (!signal.aborted && !mayStart()) return;
      for (const off of unwatch) off();
      signal.removeEventListener('abort', look);
      resolve();
    };
    const unwatch = [keys.pods, keys.namespaces].map((r) => store.watch(r, look));
    signal.addEventListener('abort', look);
  });
}
