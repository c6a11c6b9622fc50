// ReplicaSet → Pods and DaemonSet → Pod, and what the workload controllers share. Shells around
// workload-plan.ts.
import type { KubeObject, Store } from '../contract.ts';
import {
  as,
  controllerOf,
  type DaemonSet,
  isDeleting,
  isReady,
  keys,
  type Pod,
  type PodTemplate,
  type ReplicaSet,
} from '../objects.ts';
import { type Controller, keyOf, splitKey } from './loop.ts';
import type { Recorder } from './recorder.ts';
import {
  activePods,
  daemonHashLabel,
  planDaemon,
  planReplicas,
  templateHash,
} from './workload-plan.ts';

export interface WorkloadDeps {
  readonly store: Store;
  readonly recorder: Recorder;
  readonly now: () => number;
}

/** Keys of the owner of a kind; the object itself if it has none of that kind. */
export const ownerKey =
  (kind: string) =>
  (object: KubeObject): string[] => {
    const owner = controllerOf(object);
    return owner?.kind === kind ? [`${object.metadata.namespace ?? ''}/${owner.name}`] : [];
  };

export const owned = <T>(
  store: Store,
  resource: string,
  namespace: string,
  uid: string | undefined,
): T[] =>
  store
    .list(resource, { namespace })
    .items.filter((o) => controllerOf(o)?.uid === uid)
    .map(as<T>);

export function ownerOf(object: {
  apiVersion: string;
  kind: string;
  metadata: KubeObject['metadata'];
}) {
  const { name, uid = '' } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

function podFrom(
  template: PodTemplate,
  owner: Parameters<typeof ownerOf>[0],
  labels: Record<string, string>,
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: '',
      generateName: `${owner.metadata.name}-`,
      namespace: owner.metadata.namespace ?? 'default',
      labels: { ...template.metadata?.labels, ...labels },
      ...(template.metadata?.annotations ? { annotations: template.metadata.annotations } : {}),
      ownerReferences: [ownerOf(owner)],
    },
    spec: template.spec,
    status: { phase: 'Pending' },
  };
}

export function replicaSetController({ store, recorder }: WorkloadDeps): Controller {
  return {
    name: 'replicaset',
    watches: {
      [keys.replicaSets]: (o) => [keyOf(o)],
      [keys.pods]: ownerKey('ReplicaSet'),
    },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const found = store.get(keys.replicaSets, namespace, name);
      if (!found || isDeleting(found)) return undefined;
      const set = as<ReplicaSet>(found);
      const pods = owned<Pod>(store, keys.pods, namespace, set.metadata.uid);
      const plan = planReplicas(set.spec.replicas ?? 1, pods);
      for (let i = 0; i < plan.create; i++) {
        const pod = store.create(keys.pods, podFrom(set.spec.template, set, {}));
        pods.push(as<Pod>(pod));
        recorder.event(set, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`);
      }
      for (const pod of plan.remove) {
        store.remove(keys.pods, namespace, pod.metadata.name);
        recorder.event(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`);
      }
      const active = activePods(pods).filter((p) => !plan.remove.includes(p));
      const ready = active.filter(isReady).length;
      store.modify(
        keys.replicaSets,
        namespace,
        name,
        (s) => {
          s['status'] = {
            replicas: active.length,
            fullyLabeledReplicas: active.length,
            readyReplicas: ready,
            availableReplicas: ready,
            observedGeneration: set.metadata.generation ?? 1,
          };
        },
        { status: true },
      );
      return undefined;
    },
  };
}

export function daemonSetController({
  store,
  recorder,
  nodes,
}: WorkloadDeps & { readonly nodes: readonly string[] }): Controller {
  return {
    name: 'daemonset',
    watches: {
      [keys.daemonSets]: (o) => [keyOf(o)],
      [keys.pods]: ownerKey('DaemonSet'),
    },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const found = store.get(keys.daemonSets, namespace, name);
      if (!found || isDeleting(found)) return undefined;
      const set = as<DaemonSet>(found);
      const pods = owned<Pod>(store, keys.pods, namespace, set.metadata.uid);
      const hash = templateHash(set.spec.template);
      const { type, rollingUpdate } = set.spec.updateStrategy ?? {};
      const surge = rollingUpdate?.maxSurge;
      const update = {
        onDelete: type === 'OnDelete',
        surge: surge !== undefined && surge !== 0 && surge !== '0' && surge !== '0%',
      };
      const remove = pods.filter((p) => !nodes.includes(p.spec.nodeName ?? ''));
      for (const node of nodes) {
        const own = pods.filter((p) => p.spec.nodeName === node);
        const plan = planDaemon(hash, own, update);
        remove.push(...plan.remove);
        if (!plan.create) continue;
        const pod = podFrom(set.spec.template, set, { [daemonHashLabel]: hash });
        as<Pod>(pod).spec.nodeName = node;
        const made = store.create(keys.pods, pod);
        pods.push(as<Pod>(made));
        recorder.event(set, 'Normal', 'SuccessfulCreate', `Created pod: ${made.metadata.name}`);
      }
      for (const pod of remove) {
        store.remove(keys.pods, namespace, pod.metadata.name);
        recorder.event(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`);
      }
      const active = activePods(pods).filter((p) => !remove.includes(p));
      const count = (fits: (p: Pod) => boolean): number =>
        new Set(active.filter(fits).map((p) => p.spec.nodeName)).size;
      const ready = count(isReady);
      // As Kubernetes counts: a node is updated when its old pod has gone, not while the two overlap.
      const fresh = (p: Pod): boolean => p.metadata.labels?.[daemonHashLabel] === hash;
      const behind = new Set(active.filter((p) => !fresh(p)).map((p) => p.spec.nodeName));
      const updated = count((p) => fresh(p) && !behind.has(p.spec.nodeName));
      store.modify(
        keys.daemonSets,
        namespace,
        name,
        (s) => {
          s['status'] = {
            currentNumberScheduled: count(() => true),
            desiredNumberScheduled: nodes.length,
            numberMisscheduled: 0,
            numberReady: ready,
            numberAvailable: ready,
            numberUnavailable: nodes.length - ready || undefined,
            updatedNumberScheduled: updated,
            observedGeneration: set.metadata.generation ?? 1,
          };
        },
        { status: true },
      );
      return undefined;
    },
  };
}
