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
}

export interface Changes {
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

const hash = (bytes: Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex').slice(0, 16);

const journalLimit = 200_000;

export class Snapshot {
  readonly #entries = new Map<string, Entry>();
  readonly #aliases = new Map<string, Set<string>>();
  readonly #journal: { readonly revision: number; readonly name: string }[] = [];
  #oldest = 0;

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
    const names = this.#aliases.get(alias) ?? [];
    return [...names].map((n) => this.#entries.get(n)).filter((e) => e !== undefined);
  }

  /** False if the content is the same as before: nothing to tell anyone. */
  put(revision: number, name: string, bytes: Uint8Array, aliases: readonly string[] = []): boolean {
    const version = hash(bytes);
    const old = this.#entries.get(name);
    if (old?.version === version) return false;
    if (old) this.#unalias(old);
    const entry = { name, version, bytes, aliases };
    this.#entries.set(name, entry);
    for (const a of aliases) {
      const names = this.#aliases.get(a) ?? new Set<string>();
      this.#aliases.set(a, names.add(name));
    }
    this.#note(revision, name);
    return true;
  }

  remove(revision: number, name: string): boolean {
    const old = this.#entries.get(name);
    if (!old) return false;
    this.#unalias(old);
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
    if (this.#journal.length <= journalLimit * 1.25) return;
    const dropped = this.#journal.splice(0, this.#journal.length - journalLimit);
    this.#oldest = dropped.at(-1)?.revision ?? this.#oldest;
  }

  #unalias(entry: Entry): void {
    for (const a of entry.aliases) {
      const names = this.#aliases.get(a);
      names?.delete(entry.name);
      if (names?.size === 0) this.#aliases.delete(a);
    }
  }
}

/** All types at one revision; grows by one with each publication that changed something. */
export class Snapshots {
  readonly #types = new Map<string, Snapshot>();
  revision = 0;

  constructor(typeUrls: readonly string[]) {
    for (const t of typeUrls) this.#types.set(t, new Snapshot());
  }

  type(typeUrl: string): Snapshot | undefined {
    return this.#types.get(typeUrl);
  }
}
