// Desired against actual for Deployments, ReplicaSets and DaemonSets. Pure: the controllers carry
// the plans out.
import { isDeleting, isReady, isTerminal, type Pod, type PodTemplate } from '../objects.ts';

export const hashLabel = 'pod-template-hash';
export const daemonHashLabel = 'controller-revision-hash';

/** A short stable name for a pod template, in the letters Kubernetes uses for hashes. */
export function templateHash(template: PodTemplate): string {
  const text = stable(template);
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  const letters = 'bcdfghjklmnpqrstvwxz2456789';
  let out = '';
  for (let i = 0; i < 10; i++) {
    out += letters[h % letters.length];
    h = (Math.imul(h, 0x9e3779b1) ^ (h >>> 13)) >>> 0;
  }
  return out;
}

/** JSON with sorted keys; undefined fields do not count. */
export function stable(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(stable).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = Object.entries(value)
    .filter(([, v]) => v !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([k, v]) => `${JSON.stringify(k)}:${stable(v)}`).join(',')}}`;
}

/** `25%` of `total`, or a plain number. */
export function amount(
  value: number | string | undefined,
  total: number,
  rounding: 'up' | 'down',
): number {
  if (typeof value === 'number') return value;
  const percent = Number.parseFloat(value ?? '25%');
  const exact = (Number.isFinite(percent) ? percent : 25) * (total / 100);
  return rounding === 'up' ? Math.ceil(exact) : Math.floor(exact);
}

export interface SetView {
  readonly name: string;
  readonly isNew: boolean;
  /** spec.replicas. */
  readonly wanted: number;
  /** Pods that exist. */
  readonly current: number;
  readonly ready: number;
  /** Pods on their way out, which still hold what the new ones may need (Recreate waits for them). */
  readonly ending: number;
}

export interface Strategy {
  readonly type: 'RollingUpdate' | 'Recreate';
  readonly maxSurge: number | string | undefined;
  readonly maxUnavailable: number | string | undefined;
}

/** New sizes by ReplicaSet name; sets that stay are left out. `sets` old ones oldest first. */
export function planRollout(
  replicas: number,
  strategy: Strategy,
  sets: readonly SetView[],
): Map<string, number> {
  const sizes = new Map<string, number>();
  const set = (s: SetView, size: number): void => {
    if (size !== s.wanted) sizes.set(s.name, size);
  };
  const fresh = sets.find((s) => s.isNew);
  const old = sets.filter((s) => !s.isNew);
  if (!fresh) return sizes;
  if (strategy.type === 'Recreate') {
    for (const s of old) set(s, 0);
    if (old.every((s) => s.current === 0 && s.ending === 0)) set(fresh, replicas);
    return sizes;
  }
  const { surge, unavailable } = rollingLimits(replicas, strategy);
  const oldWanted = old.reduce((n, s) => n + s.wanted, 0);
  const room = Math.max(0, replicas + surge - oldWanted - fresh.wanted);
  const size = fresh.wanted > replicas ? replicas : Math.min(replicas, fresh.wanted + room);
  set(fresh, size);
  // Old pods that are not ready go first: they serve nobody. Ready ones as far as enough remain.
  const ready = fresh.ready + old.reduce((n, s) => n + Math.min(s.ready, s.wanted), 0);
  let spare = Math.max(0, ready - (replicas - unavailable));
  for (const s of old) {
    const broken = Math.max(0, s.wanted - s.ready);
    const kept = Math.min(s.wanted - broken, s.wanted);
    const cut = Math.min(kept, spare);
    spare -= cut;
    set(s, kept - cut);
  }
  return sizes;
}

export function rollingLimits(
  replicas: number,
  strategy: Pick<Strategy, 'maxSurge' | 'maxUnavailable'>,
): { surge: number; unavailable: number } {
  const surge = amount(strategy.maxSurge, replicas, 'up');
  const unavailable = amount(strategy.maxUnavailable, replicas, 'down');
  return surge === 0 && unavailable === 0 ? { surge: 0, unavailable: 1 } : { surge, unavailable };
}

export interface ReplicaPlan {
  readonly create: number;
  readonly remove: readonly Pod[];
}

/** Pods that count: neither on their way out nor finished. */
export const activePods = (pods: readonly Pod[]): Pod[] =>
  pods.filter((p) => !isDeleting(p) && !isTerminal(p));

/** Surplus pods go in this order: not ready, then youngest. */
export function planReplicas(wanted: number, pods: readonly Pod[]): ReplicaPlan {
  const active = activePods(pods);
  if (active.length <= wanted) return { create: wanted - active.length, remove: [] };
  const age = (p: Pod): string => p.metadata.creationTimestamp ?? '';
  const order = active.toSorted(
    (a, b) => Number(isReady(a)) - Number(isReady(b)) || age(b).localeCompare(age(a)),
  );
  return { create: 0, remove: order.slice(0, active.length - wanted) };
}

export interface DaemonPlan {
  readonly create: boolean;
  readonly remove: readonly Pod[];
}

/**
 * One node, so one pod of the newest template. With a surge the new pod comes first and the old
 * one goes when it is ready; without, the old one goes first.
 */
export function planDaemon(
  hash: string,
  pods: readonly Pod[],
  update: { readonly onDelete: boolean; readonly surge: boolean },
): DaemonPlan {
  const active = activePods(pods);
  const finished = pods.filter((p) => isTerminal(p) && !isDeleting(p));
  const [fresh, ...doubles] = active.filter((p) => p.metadata.labels?.[daemonHashLabel] === hash);
  const old = active.filter((p) => p.metadata.labels?.[daemonHashLabel] !== hash);
  const remove = [...finished, ...doubles];
  if (update.onDelete) {
    return { create: active.length === 0, remove };
  }
  if (update.surge) {
    if (!fresh) return { create: true, remove };
    return { create: false, remove: isReady(fresh) ? [...remove, ...old] : remove };
  }
  if (old.length > 0) return { create: false, remove: [...remove, ...old] };
  // The old one's ports and files are free only when it is gone.
  const ending = pods.some(isDeleting);
  return { create: !fresh && !ending, remove };
}
