// The sandbox's object store: Kubernetes' write rules over SQLite, with events for watchers. Writers
// are the API and the controllers; every change leaves here as one event with its revision.
import { randomBytes, randomUUID } from 'node:crypto';
import type { Log } from '../../core/base/index.ts';
import type { KubeObject, ListQuery, ResourceKey, Store, StoreEvent } from '../contract.ts';
import { Database } from './database.ts';
import { StoredEvent } from './events.ts';
import { crdKey, type Registry, type ResourceInfo, ResourceRegistry, rowOf } from './registry.ts';
import { created, deleted, isFinished, isoSeconds, replaced } from './rules.ts';
import { inVersion, rowSelector } from './row-select.ts';
import { alreadyExists, conflict, notFound, statusError } from './status.ts';

export interface PageKey {
  readonly namespace: string;
  readonly name: string;
}

export interface Page {
  /** Stored JSON of each object, in (namespace, name) order. */
  readonly texts: readonly string[];
  readonly revision: number;
  /** Where the next page starts; undefined on the last page. */
  readonly next: PageKey | undefined;
}

/** What the API needs beyond `Store`: stored texts, pages, and the journal. */
export interface SandboxStore extends Store {
  readonly registry: Registry;
  /** Revision of the last write. */
  readonly revision: number;
  text(resource: ResourceKey, namespace: string | undefined, name: string): string | undefined;
  page(resource: ResourceKey, query: ListQuery, from: PageKey | undefined, limit: number): Page;
  /** How many objects there are, selectors aside. */
  count(resource: ResourceKey, namespace: string | undefined): number;
  /** Events after `revision`; throws 410 when they are forgotten or from another store. */
  since(resource: ResourceKey, revision: number): StoredEvent[];
  /** As `watch` (also `'*'`), with the stored text. */
  subscribe(resource: ResourceKey, listener: (event: StoredEvent) => void): () => void;
  /** As `remove`, and tells whether the object is gone or only marked. */
  discard(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    how?: RemoveHow,
  ): { readonly object: KubeObject; readonly gone: boolean } | undefined;
  close(): void;
}

export type RemoveHow = NonNullable<Parameters<Store['remove']>[3]>;

export interface StoreOptions {
  /** A directory of its own, or ':memory:'. */
  readonly dir: string;
  readonly log: Log;
  /** Events kept for watches that resume. Default 20,000. */
  readonly journalEvents?: number;
  /** Wall time in milliseconds. Default `Date.now`. */
  readonly now?: () => number;
}

const sliceRows = 500;
const pruneEvery = 256;

/** Opens (or makes) the store. Throws when another process has the directory open. */
export function openStore(options: StoreOptions): SandboxStore {
  return new SqliteStore(options);
}

class SqliteStore implements SandboxStore {
  readonly #db: Database;
  readonly #log: Log;
  readonly #keep: number;
  readonly #now: () => number;
  readonly #registry = new ResourceRegistry();
  readonly #listeners = new Map<string, Set<(event: StoredEvent) => void>>();
  readonly #queue: StoredEvent[] = [];
  #pending: StoredEvent[] = [];
  #delivering = false;

  constructor(options: StoreOptions) {
    this.#db = new Database(options.dir);
    this.#log = options.log;
    this.#keep = options.journalEvents ?? 20_000;
    this.#now = options.now ?? Date.now;
    for (const crd of this.list(crdKey).items) this.#registry.addCrd(crd);
  }

  get registry(): Registry {
    return this.#registry;
  }

  get revision(): number {
    return this.#db.revision;
  }

  close(): void {
    this.#listeners.clear();
    this.#db.close();
  }

  get(resource: ResourceKey, namespace: string | undefined, name: string): KubeObject | undefined {
    const text = this.text(resource, namespace, name);
    return text === undefined ? undefined : (JSON.parse(text) as KubeObject);
  }

  text(resource: ResourceKey, namespace: string | undefined, name: string): string | undefined {
    const text = this.#db.get(rowOf(resource), namespace ?? '', name);
    return text === undefined ? undefined : inVersion(text, resource);
  }

  list(resource: ResourceKey, query: ListQuery = {}): { items: KubeObject[]; revision: number } {
    const items: KubeObject[] = [];
    const revision = this.revision;
    let from: PageKey | undefined;
    do {
      const page = this.page(resource, query, from, sliceRows);
      for (const text of page.texts) items.push(JSON.parse(text) as KubeObject);
      from = page.next;
    } while (from);
    return { items, revision };
  }

  page(resource: ResourceKey, query: ListQuery, from: PageKey | undefined, limit: number): Page {
    const wanted = rowSelector(query);
    const selective = Boolean(query.labelSelector || query.fieldSelector);
    const texts: string[] = [];
    let after: PageKey | undefined = from;
    while (texts.length < limit) {
      const size = selective ? sliceRows : Math.min(sliceRows, limit);
      const rows = this.#db.page(
        rowOf(resource),
        query.namespace,
        after ?? { namespace: '', name: '' },
        size,
      );
      for (const row of rows) {
        after = { namespace: row.namespace, name: row.name };
        if (wanted(row)) texts.push(inVersion(row.json, resource));
        if (texts.length === limit) break;
      }
      if (rows.length < size) {
        const last = rows.at(-1);
        const cut =
          last && after && (last.name !== after.name || last.namespace !== after.namespace);
        if (!cut) after = undefined;
        break;
      }
    }
    return { texts, revision: this.revision, next: after };
  }

  count(resource: ResourceKey, namespace: string | undefined): number {
    return this.#db.count(rowOf(resource), namespace);
  }

  create(resource: ResourceKey, object: KubeObject): KubeObject {
    const info = this.#info(resource);
    const { namespace, generateName } = object.metadata;
    if (info.namespaced && !namespace) {
      throw statusError(400, 'BadRequest', `${info.kind} needs a namespace`);
    }
    return this.#write(() => {
      const key = info.namespaced ? (namespace ?? '') : '';
      const name = object.metadata.name || this.#generate(info, key, generateName);
      if (this.#db.get(rowOf(info.key), key, name) !== undefined) throw alreadyExists(info, name);
      const stamp = { name, uid: randomUUID(), time: isoSeconds(this.#now()) };
      return this.#put(info, 'ADDED', created(info, object, stamp), undefined);
    });
  }

  update(resource: ResourceKey, object: KubeObject, how?: { status?: boolean }): KubeObject {
    const info = this.#info(resource);
    const { name, resourceVersion, uid } = object.metadata;
    return this.#write(() => {
      const previous = this.#db.get(rowOf(info.key), this.#scope(info, object), name);
      if (previous === undefined) throw notFound(info, name);
      const old = JSON.parse(previous) as KubeObject;
      if (resourceVersion && resourceVersion !== old.metadata.resourceVersion) {
        throw conflict(
          info,
          name,
          'the object has been modified; please apply your changes to the latest version and try again',
        );
      }
      if (uid && uid !== old.metadata.uid) {
        throw conflict(info, name, `its uid is ${old.metadata.uid}, not ${uid}`);
      }
      const next = replaced(info, old, object, how?.status === true);
      if (next === old) return old;
      return this.#put(info, isFinished(next) ? 'DELETED' : 'MODIFIED', next, previous);
    });
  }

  modify(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    change: (object: KubeObject) => void,
    how?: { status?: boolean },
  ): KubeObject | undefined {
    const object = this.get(resource, namespace, name);
    if (!object) return undefined;
    change(object);
    // Nobody can write in between: everything here is synchronous.
    return this.update(resource, object, how);
  }

  remove(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    how: RemoveHow = {},
  ): KubeObject | undefined {
    return this.discard(resource, namespace, name, how)?.object;
  }

  discard(
    resource: ResourceKey,
    namespace: string | undefined,
    name: string,
    how: RemoveHow = {},
  ): { object: KubeObject; gone: boolean } | undefined {
    const info = this.#info(resource);
    return this.#write(() => {
      const previous = this.#db.get(rowOf(info.key), namespace ?? '', name);
      if (previous === undefined) return undefined;
      const old = JSON.parse(previous) as KubeObject;
      if (how.uid && how.uid !== old.metadata.uid) {
        throw conflict(info, name, `its uid is ${old.metadata.uid}, not ${how.uid}`);
      }
      if (how.propagation === 'Orphan') this.#orphan(String(old.metadata.uid));
      const { gone, object } = deleted(info, old, how.graceSeconds, this.#now());
      if (!gone && object === old) return { object, gone };
      return { object: this.#put(info, gone ? 'DELETED' : 'MODIFIED', object, previous), gone };
    });
  }

  watch(resource: ResourceKey, listener: (event: StoreEvent) => void): () => void {
    return this.subscribe(resource, listener);
  }

  subscribe(resource: ResourceKey, listener: (event: StoredEvent) => void): () => void {
    const row = resource === '*' ? '*' : rowOf(resource);
    const own = (event: StoredEvent) => listener(event);
    const all = this.#listeners.get(row) ?? new Set();
    this.#listeners.set(row, all.add(own));
    return () => void all.delete(own);
  }

  since(resource: ResourceKey, revision: number): StoredEvent[] {
    if (revision < this.#db.pruned || revision > this.revision) {
      throw statusError(
        410,
        'Expired',
        `too old resource version: ${revision} (${this.#db.pruned})`,
      );
    }
    const key = this.#registry.byKey(resource)?.key ?? resource;
    return this.#db
      .journal(rowOf(resource), revision)
      .map(
        (r) =>
          new StoredEvent(
            r.type as StoredEvent['type'],
            key,
            r.revision,
            r.json,
            r.previous ?? undefined,
          ),
      );
  }

  #info(resource: ResourceKey): ResourceInfo {
    const info = this.#registry.byKey(resource);
    if (info) return info;
    throw statusError(404, 'NotFound', `the server has no resource "${resource}"`);
  }

  #scope(info: ResourceInfo, object: KubeObject): string {
    return info.namespaced ? (object.metadata.namespace ?? '') : '';
  }

  #generate(info: ResourceInfo, namespace: string, prefix: string | undefined): string {
    if (!prefix) throw statusError(422, 'Invalid', `${info.kind}: metadata.name: Required value`);
    for (let attempt = 0; attempt < 8; attempt++) {
      const name = `${prefix.slice(0, 58)}${suffix()}`;
      if (this.#db.get(rowOf(info.key), namespace, name) === undefined) return name;
    }
    throw statusError(409, 'AlreadyExists', `no free name for "${prefix}"`);
  }

  /** Stores (or drops) an object under the next revision and queues its event. */
  #put(
    info: ResourceInfo,
    type: StoredEvent['type'],
    object: KubeObject,
    previous: string | undefined,
  ): KubeObject {
    const row = rowOf(info.key);
    const namespace = this.#scope(info, object);
    const { name, labels } = object.metadata;
    const revision = this.#db.nextRevision();
    const final = { ...object, metadata: { ...object.metadata, resourceVersion: `${revision}` } };
    const json = JSON.stringify(final);
    if (type === 'DELETED') this.#db.delete(row, namespace, name);
    else this.#db.put(row, { namespace, name, json }, labels ? JSON.stringify(labels) : null);
    this.#db.record(row, { revision, type, json, previous: previous ?? null });
    if (revision % pruneEvery === 0) this.#db.prune(this.#keep);
    this.#pending.push(new StoredEvent(type, info.key, revision, json, previous));
    if (info.key === crdKey) this.#crdChanged(type, final);
    return JSON.parse(json) as KubeObject;
  }

  #crdChanged(type: StoredEvent['type'], crd: KubeObject): void {
    if (type !== 'DELETED') return this.#registry.addCrd(crd);
    const infos = this.#registry.stored().filter((r) => r.custom?.crd === crd.metadata.name);
    for (const info of infos) {
      for (const object of this.list(info.key).items) {
        this.#put(info, 'DELETED', object, JSON.stringify(object));
      }
    }
    this.#registry.removeCrd(crd.metadata.name);
  }

  /** Takes the owner out of its dependents, so that nobody collects them. */
  #orphan(uid: string): void {
    for (const row of this.#db.containing(uid)) {
      const object = JSON.parse(row.json) as KubeObject;
      const owners = object.metadata.ownerReferences?.filter((o) => o.uid !== uid);
      const info = this.#registry.byKind(object.apiVersion, object.kind);
      if (!info || !owners || owners.length === object.metadata.ownerReferences?.length) continue;
      const metadata = { ...object.metadata, ownerReferences: owners };
      this.#put(info, 'MODIFIED', { ...object, metadata }, row.json);
    }
  }

  /** One transaction; events go out after it, in order, also when a listener writes in turn. */
  #write<T>(work: () => T): T {
    let result: T;
    try {
      result = this.#db.transaction(work);
    } catch (error) {
      this.#pending = [];
      throw error;
    }
    this.#queue.push(...this.#pending);
    this.#pending = [];
    this.#deliver();
    return result;
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      for (let event = this.#queue.shift(); event; event = this.#queue.shift()) {
        for (const row of [rowOf(event.resource), '*']) {
          for (const listener of this.#listeners.get(row) ?? []) this.#tell(listener, event);
        }
      }
    } finally {
      this.#delivering = false;
    }
  }

  #tell(listener: (event: StoredEvent) => void, event: StoredEvent): void {
    try {
      listener(event);
    } catch (error) {
      this.#log.error('a store listener failed', { resource: event.resource, error });
    }
  }
}

const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

function suffix(): string {
  return [...randomBytes(5)].map((b) => alphabet[b % alphabet.length]).join('');
}
