// What the control plane has to say about one type: name → content version and bytes, encoded once for
// everybody, with a bounded journal of changes. A version is a hash of the bytes, so a restarted control
// plane does not send what proxies already have (style-models.md 6.3).
import { createHash } from 'node:crypto';

export interface Entry {
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
  /** Other names it is found by: `network/ip` (on-demand clients). */
  readonly aliases: readonly string[];
  /** What it belongs to: services by resource name, `nodeGroup(node)`. Whoever wants the group wants it. */
  readonly groups: readonly string[];
}

/** The group of the workloads on a node; no resource has such a name. */
export const nodeGroup = (node: string): string => `node:${node}`;

export interface Changes {
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

const hash = (bytes: Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex').slice(0, 16);

export class Snapshot {
  readonly #entries = new Map<string, Entry>();
  readonly #aliases = new Map<string, Set<string>>();
  readonly #journal: { readonly revision: number; readonly name: string }[] = [];
  readonly #groups = new Map<string, Set<string>>();
  readonly #journalLimit: number;
  #oldest = 0;

  constructor(journalLimit = 200_000) {
    this.#journalLimit = journalLimit;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  byAlias(alias: string): readonly Entry[] {
    return this.#resolve(this.#aliases.get(alias));
  }

  byGroup(group: string): readonly Entry[] {
    return this.#resolve(this.#groups.get(group));
  }

  #resolve(names: ReadonlySet<string> | undefined): Entry[] {
    return [...(names ?? [])].map((n) => this.#entries.get(n)).filter((e) => e !== undefined);
  }

  /** False if the content is the same as before: nothing to tell anyone. */
  put(
    revision: number,
    name: string,
    bytes: Uint8Array,
    aliases: readonly string[] = [],
    groups: readonly string[] = [],
  ): boolean {
    const version = hash(bytes);
    const old = this.#entries.get(name);
    if (old?.version === version) return false;
    if (old) this.#unindex(old);
    this.#entries.set(name, { name, version, bytes, aliases, groups });
    for (const a of aliases) link(this.#aliases, a, name);
    for (const g of groups) link(this.#groups, g, name);
    this.#note(revision, name);
    return true;
  }

  remove(revision: number, name: string): boolean {
    const old = this.#entries.get(name);
    if (!old) return false;
    this.#unindex(old);
    this.#entries.delete(name);
    this.#note(revision, name);
    return true;
  }

  /** Names touched after `revision`; `undefined` if the journal no longer reaches back that far. */
  since(revision: number): Changes | undefined {
    if (revision < this.#oldest) return undefined;
    const names = new Set<string>();
    for (let i = this.#journal.length - 1; i >= 0; i--) {
      const j = this.#journal[i];
      if (!j || j.revision <= revision) break;
      names.add(j.name);
    }
    const changed: string[] = [];
    const removed: string[] = [];
    for (const n of names) (this.#entries.has(n) ? changed : removed).push(n);
    return { changed, removed };
  }

  #note(revision: number, name: string): void {
    this.#journal.push({ revision, name });
    if (this.#journal.length <= this.#journalLimit * 1.25) return;
    const dropped = this.#journal.splice(0, this.#journal.length - this.#journalLimit);
    this.#oldest = dropped.at(-1)?.revision ?? this.#oldest;
  }

  #unindex(entry: Entry): void {
    for (const a of entry.aliases) unlink(this.#aliases, a, entry.name);
    for (const g of entry.groups) unlink(this.#groups, g, entry.name);
  }
}

function link(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  if (names) names.add(name);
  else index.set(key, new Set([name]));
}

function unlink(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  if (names?.delete(name) && names.size === 0) index.delete(key);
}

/** All types at one revision; grows by one with each publication that changed something. */
export class Snapshots {
  readonly #types = new Map<string, Snapshot>();
  revision = 0;

  constructor(typeUrls: readonly string[], journalLimit?: number) {
    for (const t of typeUrls) this.#types.set(t, new Snapshot(journalLimit));
  }

  type(typeUrl: string): Snapshot | undefined {
    return this.#types.get(typeUrl);
  }
}
