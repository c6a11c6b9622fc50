// XBackendTrafficPolicy: a retry budget for a Service, in Gateway API's words (experimental; waypoint-l7.md 5.1, 5.3). It
// fills what a DestinationRule leaves unset. Pure; no change of status = `undefined`.
import type { KubeObject } from '../../core/kube/index.ts';
import { field, list, readMeta, text } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { no, type Wanted, yes } from './conditions.ts';
import type { Destination } from './destination-rules.ts';
import { duration, unknownFields } from './hosts.ts';
import {
  ancestorStatus,
  type Senders,
  shownTarget,
  type WithAncestors,
} from './policy-ancestors.ts';
import { placesOf, policies, type PolicyTarget, readPolicyTargets } from './policy-targets.ts';

export interface BackendTrafficFacts extends WithAncestors {
  /** As a DestinationRule's retryBudget says it; absent = not given. */
  readonly retryBudget: object | undefined;
  /** What cannot be read: nothing of the policy holds. */
  readonly faults: readonly string[];
  /** Fields that do nothing here. */
  readonly unused: readonly string[];
}

const isWhole = (v: unknown, least: number, most: number): v is number =>
  typeof v === 'number' && Number.isInteger(v) && v >= least && v <= most;

export function readBackendTrafficPolicy(o: KubeObject): BackendTrafficFacts {
  const { spec } = o;
  const retry = field(spec, 'retryConstraint');
  const percent = field(retry, 'budget', 'percent') ?? 20;
  const interval = field(retry, 'budget', 'interval') ?? '10s';
  // Its interval is not read, as in Istio: the count is how many may run at once whatever the budget says.
  const count = field(retry, 'minRetryRate', 'count') ?? 10;
  const faults = [
    isWhole(percent, 0, 100) ? '' : 'retryConstraint.budget.percent is no whole number up to 100',
    (duration(interval) ?? 0) > 0 ? '' : 'retryConstraint.budget.interval is no duration',
    isWhole(count, 1, 1_000_000)
      ? ''
      : 'retryConstraint.minRetryRate.count is no whole number from 1 to 1,000,000',
  ].filter((f) => f !== '');
  return {
    ...readMeta(o.metadata),
    targets: readPolicyTargets(spec).map((t) => ({ ...t, section: '' })),
    retryBudget:
      retry === undefined || faults.length > 0
        ? undefined
        : { percent, minRetryConcurrency: count, budgetInterval: text(interval) },
    faults,
    unused: unknownFields(spec, ['targetRefs', 'retryConstraint']),
    statusAncestors: list(field(o['status'], 'ancestors')),
  };
}

const all = policies((world) => world.gateways.backendTraffic.values());
const saying = policies((world) =>
  [...world.gateways.backendTraffic.values()].filter((p) => p.retryBudget !== undefined),
);

/** As the section of a trafficPolicy; `undefined` = no policy says anything. */
export function backendRetryBudget(world: World, d: Destination): object | undefined {
  if (world.gateways.backendTraffic.size === 0) return undefined;
  return saying.at(world, d)?.retryBudget;
}

function acceptedFor(world: World, p: BackendTrafficFacts, t: PolicyTarget): Wanted {
  const shown = shownTarget(p.namespace, t);
  if (!placesOf(world, p.namespace, t)) {
    return no('Accepted', 'TargetNotFound', `${shown} was not found`);
  }
  if (p.faults.length > 0) return no('Accepted', 'Invalid', p.faults.join('; '));
  const older = all.older(world, p, t);
  if (older) {
    const by = `XBackendTrafficPolicy ${older.namespace}/${older.name}`;
    return no('Accepted', 'Conflicted', `${by} holds for ${shown}`);
  }
  const rest = p.unused.length > 0 ? `, but ${p.unused.join(', ')} is not supported` : '';
  return yes('Accepted', 'Accepted', `Policy was valid${rest}`);
}

export const backendTrafficStatus = (
  world: World,
  p: BackendTrafficFacts,
  senders: Senders,
  now: string,
): object | undefined =>
  ancestorStatus(world, p, senders, (t) => acceptedFor(world, p, t), [], now);
