// Is what was applied there, and if not, why: from the objects' own words, without asking anybody. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { count, list, record, text } from './fields.ts';

export type Rollout =
  | { readonly kind: 'ready' }
  | { readonly kind: 'waiting'; readonly why: string };

const ready: Rollout = { kind: 'ready' };
const waiting = (why: string): Rollout => ({ kind: 'waiting', why });

/** A Deployment, DaemonSet or CustomResourceDefinition as it was read; anything else is ready when it is there. */
export function rolloutOf(o: KubeObject): Rollout {
  const status = record(o['status']);
  if (o.kind === 'CustomResourceDefinition') {
    const said = list(status['conditions']).find((c) => c['type'] === 'Established');
    return said?.['status'] === 'True' ? ready : waiting('is not served yet');
  }
  if (o.kind !== 'Deployment' && o.kind !== 'DaemonSet') return ready;
  const generation = o.metadata.generation ?? 0;
  if (count(status['observedGeneration']) < generation) return waiting('was not looked at yet');
  const deployment = o.kind === 'Deployment';
  const spec = record(o['spec']);
  const wanted = deployment
    ? count(spec['replicas'] ?? 1)
    : count(status['desiredNumberScheduled']);
  const updated = count(status[deployment ? 'updatedReplicas' : 'updatedNumberScheduled']);
  const available = count(status[deployment ? 'availableReplicas' : 'numberAvailable']);
  if (updated >= wanted && available >= wanted) return ready;
  return waiting(`${Math.min(updated, available)} of ${wanted} pods are ready`);
}

/** Why a pod does not run or is not ready, in one line; `undefined` = nothing is wrong with it. */
export function podTrouble(pod: KubeObject, events: readonly KubeObject[]): string | undefined {
  const status = record(pod['status']);
  const conditions = list(status['conditions']);
  const isTrue = (type: string): boolean =>
    conditions.some((c) => c['type'] === type && c['status'] === 'True');
  if (isTrue('Ready')) return undefined;
  for (const c of [
    ...list(status['initContainerStatuses']),
    ...list(status['containerStatuses']),
  ]) {
    const state = record(c['state']);
    const wait = record(state['waiting']);
    const end = record(state['terminated'] ?? record(c['lastState'])['terminated']);
    const said = wait['reason'] ?? end['reason'];
    if (typeof said !== 'string' || said === 'ContainerCreating') continue;
    const exit = end['exitCode'] === undefined ? '' : `exit code ${text(end['exitCode'])}`;
    const more = [text(wait['message']), text(end['message']), exit].filter((t) => t !== '');
    return [`${said} (container ${text(c['name'])})`, ...more].join(': ');
  }
  const scheduled = conditions.find((c) => c['type'] === 'PodScheduled' && c['status'] === 'False');
  if (scheduled) return `${text(scheduled['reason'])}: ${text(scheduled['message'])}`;
  const warning = events.findLast((e) => e['type'] === 'Warning');
  if (warning) return `${text(warning['reason'])}: ${text(warning['message'])}`;
  return `is ${text(status['phase']) || 'Pending'}`;
}

/** Events of controllers about an object without pods, such as a pod that was forbidden. */
export function lastWarning(events: readonly KubeObject[]): string | undefined {
  const warning = events.findLast((e) => e['type'] === 'Warning');
  return warning && `${text(warning['reason'])}: ${text(warning['message'])}`;
}
