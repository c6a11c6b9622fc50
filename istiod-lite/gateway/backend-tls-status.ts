// What the status of a BackendTLSPolicy says, per Gateway that sends by it: accepted, its references found, or what stands
// before it (Gateway API; waypoint-l7.md 11). Pure; no change = `undefined`.
import { field, list, readConditions, text } from '../cluster/index.ts';
import {
  type BackendTlsFacts,
  olderPolicy,
  placesOf,
  policyFault,
  type TlsFault,
  type TlsTarget,
} from './backend-tls.ts';
import type { World } from './binding.ts';
import { no, settle, type Wanted, yes } from './conditions.ts';
import { gatewayGroup } from './listeners.ts';
import { gatewayController } from './names.ts';
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

interface Ancestor {
  readonly ref: Record<string, string>;
  accepted: Wanted;
}

function acceptedFor(
  world: World,
  p: BackendTlsFacts,
  t: TlsTarget,
  fault: TlsFault | undefined,
): Wanted {
  const section = t.section === '' ? '' : ` with port ${t.section}`;
  const shown = `${t.kind} ${p.namespace}/${t.name}${section}`;
  if (!placesOf(world, p.namespace, t)) {
    return no('Accepted', 'TargetNotFound', `${shown} was not found`);
  }
  const older = olderPolicy(world, p, t);
  if (older) {
    const by = `BackendTLSPolicy ${older.namespace}/${older.name}`;
    return no('Accepted', 'Conflicted', `${by} holds for ${shown}`);
  }
  if (!fault) return yes('Accepted', 'Accepted', 'Policy was valid');
  return no('Accepted', fault.reason, `${fault.message}: nothing is sent to ${shown}`);
}

/** Those who send to a target; where nobody does, the target itself. */
function refsFor(
  world: World,
  p: BackendTlsFacts,
  t: TlsTarget,
  senders: Senders,
): Record<string, string>[] {
  const places = placesOf(world, p.namespace, t);
  const gateways = new Set(
    (places?.hostnames ?? []).flatMap((h) =>
      (places?.ports ?? []).flatMap((port) => senders(p.namespace, h, port)),
    ),
  );
  if (gateways.size === 0) {
    const { group, kind, name, section } = t;
    return [{ group, kind, name, ...(section !== '' && { sectionName: section }) }];
  }
  return [...gateways].toSorted().map((g) => {
    const [namespace = '', name = ''] = g.split('/');
    return { group: gatewayGroup, kind: 'Gateway', namespace, name };
  });
}

/** Of several targets of one ancestor the first that is not accepted is told. */
function ancestorsOf(
  world: World,
  p: BackendTlsFacts,
  fault: TlsFault | undefined,
  senders: Senders,
): Ancestor[] {
  const all = new Map<string, Ancestor>();
  for (const t of p.targets) {
    const accepted = acceptedFor(world, p, t, fault);
    for (const ref of refsFor(world, p, t, senders)) {
      const key = keyOf(ref);
      const known = all.get(key);
      if (!known) all.set(key, { ref, accepted });
      else if (known.accepted.status === 'True') known.accepted = accepted;
    }
  }
  return [...all.values()];
}

const keyOf = (ref: unknown): string =>
  ['group', 'kind', 'namespace', 'name', 'sectionName'].map((k) => text(field(ref, k))).join('|');

function refsCondition(p: BackendTlsFacts, fault: TlsFault | undefined): Wanted {
  if (fault?.refs) return no('ResolvedRefs', fault.refs, fault.message);
  const more = p.caRefs.length > 1 ? ': only the first of caCertificateRefs is read' : '';
  return yes('ResolvedRefs', 'ResolvedRefs', `All references resolved${more}`);
}

/** Entries of other controllers are kept; ours for ancestors that are gone are removed. */
export function backendTlsStatus(
  world: World,
  p: BackendTlsFacts,
  senders: Senders,
  now: string,
): object | undefined {
  const isMine = (e: unknown): boolean => text(field(e, 'controllerName')) === gatewayController;
  const others = p.statusAncestors.filter((e) => !isMine(e));
  const mine = p.statusAncestors.filter(isMine);
  const fault = policyFault(world, p);
  const wanted = ancestorsOf(world, p, fault, senders).slice(0, maxAncestors - others.length);
  let changed = wanted.length !== mine.length;
  const entries = wanted.map(({ ref, accepted }) => {
    const old = mine.find((e) => keyOf(field(e, 'ancestorRef')) === keyOf(ref));
    const before = readConditions({ metadata: { name: '' }, status: old });
    const conditions = settle(before, [accepted, refsCondition(p, fault)], p.generation, now);
    if (conditions || old === undefined) changed = true;
    return {
      ancestorRef: ref,
      controllerName: gatewayController,
      conditions: conditions ?? list(field(old, 'conditions')),
    };
  });
  return changed ? { ancestors: [...others, ...entries] } : undefined;
}
