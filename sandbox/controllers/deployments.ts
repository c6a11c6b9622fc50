// Deployment → ReplicaSets. A shell around workload-plan.ts.
import type { KubeObject, Store } from '../contract.ts';
import {
  as,
  type Condition,
  controllerOf,
  type Deployment,
  isDeleting,
  isReady,
  keys,
  type Pod,
  type ReplicaSet,
  setCondition,
  timeText,
} from '../objects.ts';
import { type Controller, keyOf, splitKey } from './loop.ts';
import type { Recorder } from './recorder.ts';
import { owned, ownerKey, ownerOf, type WorkloadDeps } from './replicas.ts';
import {
  activePods,
  hashLabel,
  planRollout,
  type SetView,
  type Strategy,
  templateHash,
} from './workload-plan.ts';

const revisionKey = 'deployment.kubernetes.io/revision';

export function deploymentController({ store, recorder, now }: WorkloadDeps): Controller {
  return {
    name: 'deployment',
    watches: {
      [keys.deployments]: (o) => [keyOf(o)],
      [keys.replicaSets]: ownerKey('Deployment'),
      // Recreate waits until the old pods are gone, of which no ReplicaSet tells: it has forgotten them already.
      [keys.pods]: (o) => (isDeleting(o) ? deploymentsOf(store, as<Pod>(o)) : []),
    },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const found = store.get(keys.deployments, namespace, name);
      if (!found || isDeleting(found)) return undefined;
      const deployment = as<Deployment>(found);
      const sets = owned<ReplicaSet>(store, keys.replicaSets, namespace, deployment.metadata.uid);
      const paused = deployment.spec.paused === true;
      const fresh = paused ? newSetOf(deployment, sets) : ensureNewSet(store, deployment, sets);
      if (fresh && !sets.some((s) => s.metadata.uid === fresh.metadata.uid)) sets.push(fresh);
      if (fresh && !paused) scale(store, recorder, deployment, fresh, sets);
      writeStatus(store, deployment, fresh, sets, timeText(now()));
      prune(store, deployment, fresh, sets);
      return undefined;
    },
  };
}

/** Key of the Deployment whose ReplicaSet made a pod. */
function deploymentsOf(store: Store, pod: Pod): string[] {
  const owner = controllerOf(pod);
  const { namespace } = pod.metadata;
  if (owner?.kind !== 'ReplicaSet') return [];
  const set = store.get(keys.replicaSets, namespace, owner.name);
  return set ? ownerKey('Deployment')(set) : [];
}

const newSetOf = (deployment: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined => {
  const hash = templateHash(deployment.spec.template);
  return sets.find((s) => s.metadata.labels?.[hashLabel] === hash);
};

const revisionOf = (object: { metadata: KubeObject['metadata'] }): number =>
  Number(object.metadata.annotations?.[revisionKey] ?? 0);

function ensureNewSet(
  store: Store,
  deployment: Deployment,
  sets: readonly ReplicaSet[],
): ReplicaSet {
  const { namespace = 'default', name } = deployment.metadata;
  const highest = Math.max(0, ...sets.map(revisionOf));
  const existing = newSetOf(deployment, sets);
  const revision = String(existing && revisionOf(existing) === highest ? highest : highest + 1);
  if (deployment.metadata.annotations?.[revisionKey] !== revision) {
    store.modify(keys.deployments, namespace, name, (d) => {
      d.metadata.annotations = { ...d.metadata.annotations, [revisionKey]: revision };
    });
  }
  if (existing) {
    if (revisionOf(existing) !== Number(revision)) {
      store.modify(keys.replicaSets, namespace, existing.metadata.name, (s) => {
        s.metadata.annotations = { ...s.metadata.annotations, [revisionKey]: revision };
      });
    }
    return existing;
  }
  const { template, selector } = deployment.spec;
  const hash = templateHash(template);
  const labels = { ...template.metadata?.labels, [hashLabel]: hash };
  return as<ReplicaSet>(
    store.create(keys.replicaSets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: {
        name: `${name}-${hash}`,
        namespace,
        labels,
        annotations: { [revisionKey]: revision },
        ownerReferences: [ownerOf(deployment)],
      },
      spec: {
        replicas: 0,
        selector: {
          ...selector,
          matchLabels: { ...selector.matchLabels, [hashLabel]: hash },
        },
        template: { ...template, metadata: { ...template.metadata, labels } },
      },
      status: { replicas: 0 },
    }),
  );
}

function scale(
  store: Store,
  recorder: Recorder,
  deployment: Deployment,
  fresh: ReplicaSet,
  sets: readonly ReplicaSet[],
): void {
  const namespace = deployment.metadata.namespace ?? 'default';
  const { type, rollingUpdate } = deployment.spec.strategy ?? {};
  const strategy: Strategy = {
    type: type === 'Recreate' ? 'Recreate' : 'RollingUpdate',
    maxSurge: rollingUpdate?.maxSurge,
    maxUnavailable: rollingUpdate?.maxUnavailable,
  };
  const pods = store.list(keys.pods, { namespace }).items.map(as<Pod>);
  const views = sets
    .toSorted((a, b) => revisionOf(a) - revisionOf(b))
    .map((s): SetView => {
      const own = pods.filter((p) => controllerOf(p)?.uid === s.metadata.uid);
      const active = activePods(own);
      return {
        name: s.metadata.name,
        isNew: s.metadata.uid === fresh.metadata.uid,
        wanted: s.spec.replicas ?? 0,
        current: active.length,
        ready: active.filter(isReady).length,
        ending: own.filter(isDeleting).length,
      };
    });
  for (const [name, size] of planRollout(deployment.spec.replicas ?? 1, strategy, views)) {
    store.modify(keys.replicaSets, namespace, name, (s) => {
      (s['spec'] as { replicas: number }).replicas = size;
    });
    const set = sets.find((s) => s.metadata.name === name);
    if (set) set.spec.replicas = size;
    recorder.event(
      deployment,
      'Normal',
      'ScalingReplicaSet',
      `Scaled replica set ${name} to ${size}`,
    );
  }
}

function writeStatus(
  store: Store,
  deployment: Deployment,
  fresh: ReplicaSet | undefined,
  sets: readonly ReplicaSet[],
  time: string,
): void {
  const wanted = deployment.spec.replicas ?? 1;
  const sum = (of: (s: ReplicaSet) => number | undefined): number =>
    sets.reduce((n, s) => n + (of(s) ?? 0), 0);
  const replicas = sum((s) => s.status?.replicas);
  const available = sum((s) => s.status?.availableReplicas);
  const updated = fresh?.status?.replicas ?? 0;
  const done = updated === wanted && replicas === updated && available === updated;
  const enough = available >= wanted - rollingUnavailable(deployment);
  let conditions: readonly Condition[] = deployment.status?.conditions ?? [];
  conditions = setCondition(
    conditions,
    enough
      ? {
          type: 'Available',
          status: 'True',
          reason: 'MinimumReplicasAvailable',
          message: 'Deployment has minimum availability.',
        }
      : {
          type: 'Available',
          status: 'False',
          reason: 'MinimumReplicasUnavailable',
          message: 'Deployment does not have minimum availability.',
        },
    time,
  );
  conditions = setCondition(
    conditions,
    {
      type: 'Progressing',
      status: 'True',
      reason: done ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated',
      message: `ReplicaSet "${fresh?.metadata.name ?? ''}" ${done ? 'has successfully progressed.' : 'is progressing.'}`,
    },
    time,
  );
  store.modify(
    keys.deployments,
    deployment.metadata.namespace,
    deployment.metadata.name,
    (d) => {
      d['status'] = {
        observedGeneration: deployment.metadata.generation ?? 1,
        replicas,
        updatedReplicas: updated,
        readyReplicas: sum((s) => s.status?.readyReplicas),
        availableReplicas: available,
        unavailableReplicas: Math.max(0, Math.max(wanted, replicas) - available) || undefined,
        conditions,
      };
    },
    { status: true },
  );
}

function rollingUnavailable(deployment: Deployment): number {
  const wanted = deployment.spec.replicas ?? 1;
  const max = deployment.spec.strategy?.rollingUpdate?.maxUnavailable;
  return typeof max === 'number'
    ? max
    : Math.floor((Number.parseFloat(max ?? '25') * wanted) / 100);
}

/** Old empty sets beyond the history limit. */
function prune(
  store: Store,
  deployment: Deployment,
  fresh: ReplicaSet | undefined,
  sets: readonly ReplicaSet[],
): void {
  const idle = sets
    .filter(
      (s) =>
        s.metadata.uid !== fresh?.metadata.uid &&
        (s.spec.replicas ?? 0) === 0 &&
        (s.status?.replicas ?? 0) === 0,
    )
    .toSorted((a, b) => revisionOf(a) - revisionOf(b));
  const limit = deployment.spec.revisionHistoryLimit ?? 10;
  for (const s of idle.slice(0, Math.max(0, idle.length - limit))) {
    store.remove(keys.replicaSets, s.metadata.namespace, s.metadata.name);
  }
}
