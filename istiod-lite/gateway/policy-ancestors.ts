// `status.ancestors` of a policy of Gateway API: an entry for each Gateway that sends by it, or for the target itself
// where nobody does. Pure; no change = `undefined`.
import { field, list, readConditions, text } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { settle, type Wanted } from './conditions.ts';
import { gatewayGroup } from './listeners.ts';
import { gatewayController } from './names.ts';
import { placesOf, type PolicyTarget, type Targeted } from './policy-targets.ts';
import type { NamedConfig } from './service-config.ts';

/** `status.ancestors` holds no more. */
const maxAncestors = 16;

/** Gateways, `namespace/name`, that send to a port of a host: what they are told names it. */
export type Senders = (namespace: string, hostname: string, port: number) => readonly string[];

export function sendersIn(configs: readonly NamedConfig[]): Senders {
  const found = new Map<string, Set<string>>();
  for (const { gateway, config } of configs) {
    for (const c of config.clusters ?? []) {
      const key = `${c.namespace}/${c.hostname}|${c.port}`;
      found.set(key, (found.get(key) ?? new Set()).add(gateway));
    }
  }
  return (namespace, hostname, port) => [...(found.get(`${namespace}/${hostname}|${port}`) ?? [])];
}

/** A policy with what its status says now. */
export interface WithAncestors extends Targeted {
  readonly statusAncestors: readonly unknown[];
}

interface Ancestor {
  readonly ref: Record<string, string>;
  accepted: Wanted;
}

/** Those who send to a target; where nobody does, the target itself. */
function refsFor(
  world: World,
  namespace: string,
  t: PolicyTarget,
  senders: Senders,
): Record<string, string>[] {
  const places = placesOf(world, namespace, t);
  const gateways = new Set(
    (places?.hostnames ?? []).flatMap((h) =>
      (places?.ports ?? []).flatMap((port) => senders(namespace, h, port)),
    ),
  );
  if (gateways.size === 0) {
    const { group, kind, name, section } = t;
    return [{ group, kind, name, ...(section !== '' && { sectionName: section }) }];
  }
  return [...gateways].toSorted().map((g) => {
    const [inNamespace = '', name = ''] = g.split('/');
    return { group: gatewayGroup, kind: 'Gateway', namespace: inNamespace, name };
  });
}

const keyOf = (ref: unknown): string =>
  ['group', 'kind', 'namespace', 'name', 'sectionName'].map((k) => text(field(ref, k))).join('|');

/**
 * `accepted` judges one target; of several targets of one ancestor the first that is not accepted is told. `more` holds
 * for all. Entries of other controllers are kept; ours for ancestors that are gone are removed.
 */
export function ancestorStatus(
  world: World,
  p: WithAncestors,
  senders: Senders,
  accepted: (t: PolicyTarget) => Wanted,
  more: readonly Wanted[],
  now: string,
): object | undefined {
  const all = new Map<string, Ancestor>();
  for (const t of p.targets) {
    const verdict = accepted(t);
    for (const ref of refsFor(world, p.namespace, t, senders)) {
      const key = keyOf(ref);
      const known = all.get(key);
      if (!known) all.set(key, { ref, accepted: verdict });
      else if (known.accepted.status === 'True') known.accepted = verdict;
    }
  }
  const isMine = (e: unknown): boolean => text(field(e, 'controllerName')) === gatewayController;
  const others = p.statusAncestors.filter((e) => !isMine(e));
  const mine = p.statusAncestors.filter(isMine);
  const wanted = [...all.values()].slice(0, maxAncestors - others.length);
  let changed = wanted.length !== mine.length;
  const entries = wanted.map(({ ref, accepted: first }) => {
    const old = mine.find((e) => keyOf(field(e, 'ancestorRef')) === keyOf(ref));
    const before = readConditions({ metadata: { name: '' }, status: old });
    const conditions = settle(before, [first, ...more], p.generation, now);
    if (conditions || old === undefined) changed = true;
    return {
      ancestorRef: ref,
      controllerName: gatewayController,
      conditions: conditions ?? list(field(old, 'conditions')),
    };
  });
  return changed ? { ancestors: [...others, ...entries] } : undefined;
}

export const shownTarget = (namespace: string, t: PolicyTarget): string =>
  `${t.kind} ${namespace}/${t.name}${t.section === '' ? '' : ` with port ${t.section}`}`;
