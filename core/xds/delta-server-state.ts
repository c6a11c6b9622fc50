// What one stream wants and has been told, without IO (control-plane.md 4.4). At most one response per
// type is unacknowledged; a slow client skips revisions. Order over types: added and changed policies,
// then addresses, then removed policies, so that no workload ever names a policy its proxy lacks
// (design.md 6.1).
import type { Draft, RequestOf, ResponseOf } from '../rpc/index.ts';
import type { Changes, Entry, Snapshot, Snapshots } from './snapshot.ts';
import { addressType, authorizationType, serviceConfigType } from './type-urls.ts';

export type DeltaResponse = Draft<ResponseOf<'deltaAggregatedResources'>>;

export type Heard =
  | { readonly kind: 'subscribed' | 'ack' | 'stale' | 'unknown-type' }
  | { readonly kind: 'nack'; readonly message: string };

/** Most names one stream may subscribe to by name (K6). */
export const maxNames = 100_000;

interface TypeState {
  wildcard: boolean;
  readonly names: Set<string>;
  /** Newly subscribed by name and not answered yet. */
  readonly asked: Set<string>;
  /** Without wildcard: what it was sent under other names, by alias or group; removals are told of these too. */
  readonly sent: Set<string>;
  /** What the client said it holds, until its first answer. */
  initial: Map<string, string> | undefined;
  answered: boolean;
  /** Revision up to which additions and changes have been sent. */
  told: number;
  /** Revision up to which removals have been sent. */
  toldRemovals: number;
  /** Scoped types: what this stream has been given and not been told to drop. */
  readonly given: Set<string>;
  /** Removals of the first answer that wait for the addresses to be told. */
  late: readonly string[];
  nonce: string | undefined;
}

/** Whether this stream may have that resource; only for scoped types. */
export type Sees = (entry: Entry) => boolean;
const everything: Sees = () => true;
const nothing: Sees = () => false;

/** Of a scoped type a stream hears only of what it may see, and is told to drop what it may not see any more. */
function scope(
  type: TypeState,
  snapshot: Snapshot,
  fresh: readonly Entry[],
  gone: string[],
  sees: Sees,
): void {
  for (const e of fresh) type.given.add(e.name);
  const dropped = [...type.given].filter((name) => {
    const entry = snapshot.get(name);
    return !entry || !sees(entry);
  });
  gone.splice(0, gone.length, ...dropped);
  for (const name of dropped) type.given.delete(name);
}

export class DeltaServerState {
  readonly #types = new Map<string, TypeState>();
  readonly #streamId: string;
  #own: string | undefined;
  #serial = 0;

  /** `streamId` makes nonces of different streams differ. */
  constructor(streamId: string) {
    this.#streamId = streamId;
  }

  /** A group that the client gets without asking: the workloads of its own node. Before the first request. */
  include(group: string): void {
    this.#own = group;
  }

  has(typeUrl: string): boolean {
    return this.#types.has(typeUrl);
  }

  /** Revision each type has been told and whether an answer is awaited, for debug pages. */
  status(): { typeUrl: string; told: number; waiting: boolean }[] {
    return [...this.#types].map(([typeUrl, t]) => ({
      typeUrl,
      told: Math.min(t.told, t.toldRemovals),
      waiting: t.nonce !== undefined,
    }));
  }

  hear(r: RequestOf<'deltaAggregatedResources'>, snapshots: Snapshots): Heard {
    if (!snapshots.type(r.typeUrl)) return { kind: 'unknown-type' };
    let type = this.#types.get(r.typeUrl);
    const first = type === undefined;
    type ??= this.#begin(r);
    const was = type.wildcard;
    this.#subscribe(type, r, first);
    if (first && !type.wildcard) for (const n of type.initial?.keys() ?? []) type.names.add(n);
    // Wildcard after all: everything there is counts as asked for.
    if (!first && type.wildcard && !was) {
      for (const e of snapshots.type(r.typeUrl)?.entries() ?? []) type.asked.add(e.name);
    }
    if (r.responseNonce === '') return { kind: 'subscribed' };
    if (r.responseNonce !== type.nonce) return { kind: 'stale' };
    type.nonce = undefined;
    return r.errorDetail ? { kind: 'nack', message: r.errorDetail.message } : { kind: 'ack' };
  }

  #begin(r: RequestOf<'deltaAggregatedResources'>): TypeState {
    const type: TypeState = {
      wildcard: false,
      names: new Set(),
      asked: new Set(),
      sent: new Set(),
      initial: new Map(Object.entries(r.initialResourceVersions)),
      answered: false,
      told: 0,
      toldRemovals: 0,
      late: [],
      given: new Set(Object.keys(r.initialResourceVersions)),
      nonce: undefined,
    };
    this.#types.set(r.typeUrl, type);
    return type;
  }

  #subscribe(type: TypeState, r: RequestOf<'deltaAggregatedResources'>, first: boolean): void {
    if (first && r.resourceNamesSubscribe.length === 0) type.wildcard = true;
    for (const name of r.resourceNamesSubscribe) {
      if (name === '*') type.wildcard = true;
      else if (type.names.size < maxNames) {
        type.names.add(name);
        type.asked.add(name);
      }
    }
    for (const name of r.resourceNamesUnsubscribe) {
      if (name === '*') type.wildcard = false;
      else {
        type.names.delete(name);
        type.asked.delete(name);
        type.sent.delete(name);
      }
    }
  }

  /**
   * The next response to send, or `undefined` if there is nothing to say or an answer must come first.
   * `'resync'`: the client is too far behind; end the stream and let it come back with its versions.
   */
  next(snapshots: Snapshots, sees: Sees = nothing): DeltaResponse | 'resync' | undefined {
    const scoped = this.#types.get(serviceConfigType);
    // Before addresses, so that no proxy is sent traffic for a service it cannot serve yet.
    if (scoped && scoped.nonce === undefined) {
      const said = this.#say(serviceConfigType, scoped, snapshots, 'both', sees);
      if (said) return said;
    }
    const policies = this.#types.get(authorizationType);
    const addresses = this.#types.get(addressType);
    if (policies && policies.told < snapshots.revision) {
      if (policies.nonce !== undefined) return undefined;
      const said = this.#say(authorizationType, policies, snapshots, 'changed');
      if (said) return said;
    }
    if (addresses) {
      if (addresses.nonce !== undefined) return undefined;
      const said = this.#say(addressType, addresses, snapshots, 'both');
      if (said) return said;
    }
    if (policies && policies.nonce === undefined) {
      return this.#say(authorizationType, policies, snapshots, 'removed');
    }
    return undefined;
  }

  #say(
    typeUrl: string,
    type: TypeState,
    snapshots: Snapshots,
    part: 'both' | 'changed' | 'removed',
    sees: Sees = everything,
  ): DeltaResponse | 'resync' | undefined {
    const snapshot = snapshots.type(typeUrl);
    if (!snapshot) return undefined;
    const first = !type.answered;
    const changes = first ? this.#firstChanges(type, snapshot) : this.#laterChanges(type, snapshot);
    if (!changes) return 'resync';
    if (first) type.late = changes.removed;
    const wanted = part === 'removed' ? [] : this.#wanted(type, snapshot, changes.changed);
    const fresh = wanted.filter(sees);
    const gone = part === 'changed' ? [] : this.#gone(type, snapshot, changes.removed);
    if (sees !== everything) scope(type, snapshot, fresh, gone, sees);
    if (part !== 'removed') type.told = snapshots.revision;
    if (part !== 'changed') {
      type.toldRemovals = snapshots.revision;
      type.late = [];
    }
    type.asked.clear();
    if (fresh.length === 0 && gone.length === 0 && !first) return undefined;
    type.answered = true;
    type.initial = undefined;
    type.nonce = `${this.#streamId}-${++this.#serial}`;
    return {
      systemVersionInfo: String(snapshots.revision),
      typeUrl,
      nonce: type.nonce,
      resources: fresh.map((e) => ({
        name: e.name,
        version: e.version,
        resource: { typeUrl, value: e.bytes },
        ...(!type.wildcard && { aliases: [...e.aliases] }),
      })),
      removedResources: gone,
    };
  }

  #firstChanges(type: TypeState, snapshot: Snapshot): Changes {
    const held = type.initial ?? new Map<string, string>();
    const changed: string[] = [];
    for (const e of snapshot.entries()) if (held.get(e.name) !== e.version) changed.push(e.name);
    const removed = [...held.keys()].filter((n) => !snapshot.get(n));
    return { changed, removed };
  }

  /** Additions since the last additions, removals since the last removals and those held back. */
  #laterChanges(type: TypeState, snapshot: Snapshot): Changes | undefined {
    const changed = snapshot.since(type.told)?.changed;
    const removed = snapshot.since(type.toldRemovals)?.removed;
    if (!changed || !removed) return undefined;
    return { changed, removed: [...removed, ...type.late.filter((n) => !snapshot.get(n))] };
  }

  #wanted(type: TypeState, snapshot: Snapshot, changed: readonly string[]): Entry[] {
    const out = new Map<string, Entry>();
    const take = (e: Entry | undefined): void => {
      if (e) out.set(e.name, e);
    };
    for (const name of changed) {
      const e = snapshot.get(name);
      if (e && (type.wildcard || this.#subscribed(type, e))) take(e);
    }
    for (const name of type.asked) {
      for (const e of [snapshot.get(name), ...snapshot.byAlias(name)]) {
        take(e);
        // A service brings its workloads.
        if (e && !type.wildcard) for (const m of snapshot.byGroup(e.name)) take(m);
      }
    }
    if (!type.wildcard) for (const name of out.keys()) type.sent.add(name);
    return [...out.values()];
  }

  #subscribed(type: TypeState, e: Entry): boolean {
    const is = (name: string): boolean => type.names.has(name);
    return (
      is(e.name) ||
      e.aliases.some(is) ||
      e.groups.some((g) => g === this.#own || is(g) || type.sent.has(g))
    );
  }

  #gone(type: TypeState, snapshot: Snapshot, removed: readonly string[]): string[] {
    const out = new Set<string>();
    for (const n of removed) {
      if (type.wildcard || type.names.has(n) || type.sent.has(n)) out.add(n);
      type.sent.delete(n);
    }
    for (const name of type.asked) {
      if (!snapshot.get(name) && snapshot.byAlias(name).length === 0) out.add(name);
    }
    return [...out];
  }
}
