// The SQL of the store: one row per object with its final JSON text, and a bounded journal as watch
// cache. Knows rows and revisions, nothing of Kubernetes. Every method runs inside `transaction`.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

export interface ObjectRow {
  readonly namespace: string;
  readonly name: string;
  readonly json: string;
}

export interface JournalRow {
  readonly revision: number;
  readonly type: string;
  readonly json: string;
  readonly previous: string | null;
}

const schema = `
  CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    labels TEXT, json TEXT NOT NULL, UNIQUE (resource, namespace, name)
  );
  CREATE TABLE IF NOT EXISTS journal (
    revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, type TEXT NOT NULL,
    json TEXT NOT NULL, previous TEXT
  );
  CREATE INDEX IF NOT EXISTS journal_by_resource ON journal (resource, revision);
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
`;

export class Database {
  readonly #sqlite: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #revision: number;
  #pruned: number;
  #depth = 0;

  /** `dir` holds `store.sqlite`; ':memory:' keeps nothing. Throws when another process has it open. */
  constructor(dir: string) {
    if (dir !== ':memory:') mkdirSync(dir, { recursive: true, mode: 0o700 });
    this.#sqlite = new DatabaseSync(dir === ':memory:' ? dir : join(dir, 'store.sqlite'));
    // EXCLUSIVE: two sandboxes on one directory would each miss the other's writes.
    this.#sqlite.exec(
      'PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;',
    );
    this.#sqlite.exec(schema);
    this.#revision = this.#meta('revision');
    this.#pruned = this.#meta('pruned');
  }

  /** Revision of the last write. */
  get revision(): number {
    return this.#revision;
  }

  /** Events up to and including this revision are forgotten. */
  get pruned(): number {
    return this.#pruned;
  }

  close(): void {
    this.#statements.clear();
    this.#sqlite.close();
  }

  /** All or nothing; nested calls join the outer one. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    const before = this.#revision;
    this.#sqlite.exec('BEGIN IMMEDIATE');
    this.#depth++;
    try {
      const result = work();
      if (this.#revision !== before) this.#setMeta('revision', this.#revision);
      this.#sqlite.exec('COMMIT');
      return result;
    } catch (error) {
      this.#revision = before;
      this.#sqlite.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth--;
    }
  }

  nextRevision(): number {
    this.#revision += 1;
    return this.#revision;
  }

  get(resource: string, namespace: string, name: string): string | undefined {
    const row = this.#sql(
      'SELECT json FROM objects WHERE resource = ? AND namespace = ? AND name = ?',
    ).get(resource, namespace, name);
    return row === undefined ? undefined : String(row['json']);
  }

  put(resource: string, row: ObjectRow, labels: string | null): void {
    this.#sql(
      `INSERT INTO objects (resource, namespace, name, labels, json) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (resource, namespace, name) DO UPDATE SET labels = excluded.labels, json = excluded.json`,
    ).run(resource, row.namespace, row.name, labels, row.json);
  }

  delete(resource: string, namespace: string, name: string): void {
    this.#sql('DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?').run(
      resource,
      namespace,
      name,
    );
  }

  /** Rows in (namespace, name) order after a key; `limit` rows are read at most. */
  page(
    resource: string,
    namespace: string | undefined,
    after: { readonly namespace: string; readonly name: string },
    limit: number,
  ): (ObjectRow & { readonly labels: string | null })[] {
    const columns = 'SELECT namespace, name, labels, json FROM objects WHERE resource = ?';
    const rows =
      namespace === undefined
        ? this.#sql(
            `${columns} AND (namespace, name) > (?, ?) ORDER BY namespace, name LIMIT ?`,
          ).all(resource, after.namespace, after.name, limit)
        : this.#sql(`${columns} AND namespace = ? AND name > ? ORDER BY name LIMIT ?`).all(
            resource,
            namespace,
            after.name,
            limit,
          );
    return rows as unknown as (ObjectRow & { labels: string | null })[];
  }

  count(resource: string, namespace: string | undefined): number {
    const row =
      namespace === undefined
        ? this.#sql('SELECT count(*) AS n FROM objects WHERE resource = ?').get(resource)
        : this.#sql('SELECT count(*) AS n FROM objects WHERE resource = ? AND namespace = ?').get(
            resource,
            namespace,
          );
    return Number(row?.['n'] ?? 0);
  }

  /** Every row whose text contains `needle`, of any resource. */
  containing(needle: string): (ObjectRow & { readonly resource: string })[] {
    const rows = this.#sql(
      'SELECT resource, namespace, name, json FROM objects WHERE instr(json, ?) > 0',
    ).all(needle);
    return rows as unknown as (ObjectRow & { resource: string })[];
  }

  record(resource: string, row: JournalRow): void {
    this.#sql(
      'INSERT INTO journal (revision, resource, type, json, previous) VALUES (?, ?, ?, ?, ?)',
    ).run(row.revision, resource, row.type, row.json, row.previous);
  }

  /** Forgets all but the newest `keep` events. */
  prune(keep: number): void {
    const upTo = this.#revision - keep;
    if (upTo <= this.#pruned) return;
    this.#sql('DELETE FROM journal WHERE revision <= ?').run(upTo);
    this.#setMeta('pruned', upTo);
    this.#pruned = upTo;
  }

  journal(resource: string, after: number): JournalRow[] {
    const rows = this.#sql(
      'SELECT revision, type, json, previous FROM journal WHERE resource = ? AND revision > ? ORDER BY revision',
    ).all(resource, after);
    return rows as unknown as JournalRow[];
  }

  #sql(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (!statement) {
      statement = this.#sqlite.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  #meta(name: string): number {
    return Number(this.#sql('SELECT value FROM meta WHERE name = ?').get(name)?.['value'] ?? 0);
  }

  #setMeta(name: string, value: number): void {
    this.#sql(
      'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    ).run(name, value);
  }
}
