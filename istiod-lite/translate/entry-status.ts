// What ServiceEntries are told in their status: addresses that were given to their hosts, and why one is not
// used (control-plane.md 2.5, checklist K9). Only what differs is planned.
import type { ClusterState, Condition, ServiceEntryFacts } from '../cluster/index.ts';
import { asksForWaypoint } from './entries.ts';
import { unservedPorts } from './wildcard-ports.ts';
import type { MeshSettings } from './settings.ts';

const blockV4 = '240.240';
const blockV6 = '2001:2::';
/** Addresses that can be given: 240.240.0.1 … 240.240.255.254 without those that end in 0 or 255. */
const slots = 256 * 254;

/** A start that depends on the name alone, so that the same entry tends to get the same address. */
function slotOf(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return h % slots;
}

/** The parts of a status that must change. */
export interface EntryStatus {
  readonly namespace: string;
  readonly name: string;
  /** IPv4 and IPv6 of each host. */
  readonly addresses?: readonly { readonly value: string; readonly host: string }[];
  readonly conditions?: readonly Condition[];
}

const wanted = (e: ServiceEntryFacts): readonly string[] => {
  const optedOut =
    e.labels.get('networking.istio.io/enable-autoallocate-ip')?.toLowerCase() === 'false';
  if (e.fault !== undefined || optedOut || e.resolution === 'NONE' || e.addresses.length > 0)
    return [];
  return e.hosts.filter((h) => !h.startsWith('*') || e.dynamic);
};

/** Entries that lack addresses, with those to write (2.5). What is there is kept. */
function allocations(cluster: ClusterState): EntryStatus[] {
  const used = new Set<string>();
  for (const e of cluster.serviceEntries.all())
    for (const ips of e.allocated.values()) for (const ip of ips) used.add(ip);
  const out: EntryStatus[] = [];
  for (const e of cluster.serviceEntries.all()) {
    const hosts = wanted(e);
    if (hosts.every((h) => (e.allocated.get(h)?.length ?? 0) > 0)) continue;
    const addresses = hosts.flatMap((host) => {
      const kept = e.allocated.get(host) ?? [];
      const values = kept.length > 0 ? kept : allocate(`${e.namespace}/${e.name}/${host}`, used);
      return values.map((value) => ({ value, host }));
    });
    out.push({ namespace: e.namespace, name: e.name, addresses });
  }
  return out;
}

function allocate(name: string, used: Set<string>): string[] {
  const first = slotOf(name);
  for (let i = 0; i < slots; i++) {
    const slot = (first + i) % slots;
    const [high, low] = [Math.floor(slot / 254), (slot % 254) + 1];
    const v4 = `${blockV4}.${high}.${low}`;
    if (used.has(v4)) continue;
    used.add(v4);
    return [v4, `${blockV6}${((high << 8) | low).toString(16)}`];
  }
  return [];
}

const conditionType = 'ambientlite.dev/Accepted';

/** Says why an entry is not used, or what of it, and takes it back once it is; one that always was good hears nothing. */
function conditionOf(
  e: ServiceEntryFacts,
  nowMs: number,
  m: Pick<MeshSettings, 'wildcardTls'>,
): readonly Condition[] | undefined {
  const old = e.conditions.find((c) => c.type === conditionType);
  const partly = e.fault === undefined ? [...e.unserved, ...unservedPorts(e, m)] : [];
  if (e.fault === undefined && partly.length === 0 && !old) return undefined;
  const status = e.fault === undefined ? 'True' : 'False';
  const message =
    e.fault !== undefined
      ? `not used: ${e.fault}`
      : partly.length > 0
        ? `not served: ${partly.join('; ')}`
        : 'in use';
  const same =
    old?.status === status && old.message === message && old.observedGeneration === e.generation;
  if (same) return undefined;
  const condition: Condition = {
    type: conditionType,
    status,
    reason: e.fault !== undefined ? 'Invalid' : partly.length > 0 ? 'PartiallyInvalid' : 'Accepted',
    message,
    observedGeneration: e.generation,
    lastTransitionTime:
      old?.status === status
        ? old.lastTransitionTime
        : new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
  return [...e.conditions.filter((c) => c.type !== conditionType), condition];
}

const waypointMissing = 'istio.io/WaypointMissing';

/** Why the entry does nothing without a waypoint, where nobody asks for one (control-plane.md 3.8). */
function missingWaypoint(
  cluster: ClusterState,
  e: ServiceEntryFacts,
): Pick<Condition, 'reason' | 'message'> | undefined {
  if (e.fault !== undefined || asksForWaypoint(cluster, e)) return undefined;
  if (e.hosts.some((h) => h.startsWith('*'))) {
    const message = 'the wildcard host is not served until the entry is bound to a waypoint';
    return { reason: 'NoWaypointForWildcardService', message };
  }
  if (e.annotations.get('istio.io/connect-strategy') !== 'RACE_FIRST_TCP_CONNECT') return undefined;
  const message = 'the connect strategy has no effect until the entry is bound to a waypoint';
  return { reason: 'NoWaypointForRacingConnectStrategy', message };
}

/** All conditions as they should be, if the one about waypoints must change; it goes with its cause. */
function withWaypointMissing(
  cluster: ClusterState,
  e: ServiceEntryFacts,
  now: readonly Condition[],
  nowMs: number,
): readonly Condition[] | undefined {
  const old = now.find((c) => c.type === waypointMissing);
  const others = now.filter((c) => c.type !== waypointMissing);
  const wanted = missingWaypoint(cluster, e);
  if (!wanted) return old && others;
  if (old?.reason === wanted.reason && old.observedGeneration === e.generation) return undefined;
  const lastTransitionTime =
    old?.lastTransitionTime ?? new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const fixed = { type: waypointMissing, status: 'True', observedGeneration: e.generation };
  return [...others, { ...fixed, ...wanted, lastTransitionTime }];
}

export function planEntryStatuses(
  cluster: ClusterState,
  nowMs: number,
  m: Pick<MeshSettings, 'wildcardTls'> = {},
): EntryStatus[] {
  const out = new Map(allocations(cluster).map((a) => [`${a.namespace}/${a.name}`, a]));
  for (const e of cluster.serviceEntries.all()) {
    const own = conditionOf(e, nowMs, m);
    const conditions = withWaypointMissing(cluster, e, own ?? e.conditions, nowMs) ?? own;
    if (!conditions) continue;
    const { namespace, name } = e;
    const key = `${namespace}/${name}`;
    out.set(key, { ...(out.get(key) ?? { namespace, name }), conditions });
  }
  return [...out.values()];
}
