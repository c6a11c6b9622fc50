// Which rules can match a connection at all, found without looking at the others. A rule is filed under
// the values of one of its clauses, the most selective one: whoever satisfies none of them cannot match it.
// Rules whose clauses only negate are looked at every time.
import type { Cidr } from '../base/index.ts';
import { isEmptyMatch, type RbacConnection } from './authorize.ts';
import type { Clause, Match, Policy, Rule, StringMatch } from './policy.ts';

/** One rule of a policy; the unit of filing. */
export interface RuleEntry {
  readonly policy: Policy;
  readonly rule: Rule;
}

type Bucket = Set<RuleEntry>;
type Visit = (entry: RuleEntry) => void;
/** A place in one of the tables. */
interface Slot {
  readonly table: Map<unknown, Bucket>;
  readonly key: unknown;
}

const tableOf = <K>(tables: Map<K, Map<unknown, Bucket>>, key: K): Map<unknown, Bucket> => {
  const known = tables.get(key);
  if (known) return known;
  const made = new Map<unknown, Bucket>();
  tables.set(key, made);
  return made;
};

const visitAll = (bucket: Bucket | undefined, visit: Visit): void => {
  for (const e of bucket ?? []) visit(e);
};

/** Texts by exact value, by prefix and suffix of each length in use, by mere presence. */
class TextTable {
  readonly #exact = new Map<unknown, Bucket>();
  readonly #prefix = new Map<number, Map<unknown, Bucket>>();
  readonly #suffix = new Map<number, Map<unknown, Bucket>>();

  slot(m: StringMatch): Slot {
    switch (m.kind) {
      case 'exact':
        return { table: this.#exact, key: m.text };
      case 'prefix':
        return { table: tableOf(this.#prefix, m.text.length), key: m.text };
      case 'suffix':
        return { table: tableOf(this.#suffix, m.text.length), key: m.text };
      case 'presence':
        return { table: tableOf(this.#prefix, 0), key: '' };
    }
  }

  find(text: string, visit: Visit): void {
    visitAll(this.#exact.get(text), visit);
    for (const [length, table] of this.#prefix) {
      if (length <= text.length) visitAll(table.get(text.slice(0, length)), visit);
    }
    for (const [length, table] of this.#suffix) {
      if (length <= text.length) visitAll(table.get(text.slice(text.length - length)), visit);
    }
  }
}

const maskedKey = (bytes: Uint8Array, bits: number): string => {
  let key = '';
  for (let i = 0; i < bytes.length && i * 8 < bits; i++) {
    const keep = Math.min(8, bits - 8 * i);
    key += String.fromCharCode((bytes[i] ?? 0) & (0xff00 >> keep) & 0xff);
  }
  return key;
};

/** Blocks by family and prefix length. */
class CidrTable {
  readonly #byBits = new Map<number, Map<unknown, Bucket>>();

  slot(c: Cidr): Slot {
    const table = tableOf(this.#byBits, c.bytes.length * 256 + c.bits);
    return { table, key: maskedKey(c.bytes, c.bits) };
  }

  find(address: Uint8Array, visit: Visit): void {
    for (const [at, table] of this.#byBits) {
      if (at >> 8 === address.length) visitAll(table.get(maskedKey(address, at & 255)), visit);
    }
  }
}

type Field = keyof Match;
/** The lower, the fewer rules share a value. */
const selectivity: Record<Field, number> = {
  principals: 0,
  serviceAccounts: 1,
  namespaces: 2,
  sourceIps: 3,
  destinationIps: 4,
  destinationPorts: 5,
};
const fields = Object.keys(selectivity) as Field[];

const isWide = (m: StringMatch): boolean => m.kind === 'presence' || m.text === '';

function costOf(m: Match, field: Field): number {
  if (m[field].any.length === 0) return Infinity;
  const wide =
    (field === 'principals' || field === 'namespaces') && m[field].any.some(isWide) ? 10 : 0;
  return selectivity[field] + wide;
}

/** The field that says most about a match; `undefined` if it only negates. */
function bestField(m: Match): { field: Field; cost: number } | undefined {
  let best: { field: Field; cost: number } | undefined;
  for (const field of fields) {
    const cost = costOf(m, field);
    if (cost < (best?.cost ?? Infinity)) best = { field, cost };
  }
  return best;
}

/** How well a clause files; Infinity = not at all. A clause is as good as its worst alternative. */
function clauseCost(clause: Clause): number {
  let cost = 0;
  for (const m of clause) {
    if (!isEmptyMatch(m)) cost = Math.max(cost, bestField(m)?.cost ?? Infinity);
  }
  return cost;
}

/** The clause to file under; `undefined` = none will do; `'never'` = the rule cannot match. */
function filingClause(rule: Rule): Clause | 'never' | undefined {
  let best: Clause | undefined;
  let least = Infinity;
  for (const clause of rule) {
    if (clause.length === 0) continue;
    if (clause.every(isEmptyMatch)) return 'never';
    const cost = clauseCost(clause);
    if (cost < least) {
      best = clause;
      least = cost;
    }
  }
  return best;
}

export class PolicyIndex {
  readonly #principals = new TextTable();
  readonly #namespaces = new TextTable();
  readonly #accounts = new Map<unknown, Bucket>();
  readonly #sources = new CidrTable();
  readonly #destinations = new CidrTable();
  readonly #ports = new Map<unknown, Bucket>();
  readonly #always: Bucket = new Set();
  readonly #entries = new Map<Policy, readonly RuleEntry[]>();

  /** Number of policies. */
  get size(): number {
    return this.#entries.size;
  }

  has(policy: Policy): boolean {
    return this.#entries.has(policy);
  }

  put(policy: Policy): void {
    const entries = policy.rules.map((rule): RuleEntry => ({ policy, rule }));
    this.#entries.set(policy, entries);
    for (const e of entries) {
      const clause = filingClause(e.rule);
      if (clause === 'never') continue;
      if (!clause) this.#always.add(e);
      else
        for (const { table, key } of this.#slots(clause)) {
          const bucket = table.get(key);
          if (bucket) bucket.add(e);
          else table.set(key, new Set([e]));
        }
    }
  }

  remove(policy: Policy): void {
    for (const e of this.#entries.get(policy) ?? []) {
      const clause = filingClause(e.rule);
      if (clause === 'never') continue;
      if (!clause) this.#always.delete(e);
      else
        for (const { table, key } of this.#slots(clause)) {
          const bucket = table.get(key);
          bucket?.delete(e);
          if (bucket?.size === 0) table.delete(key);
        }
    }
    this.#entries.delete(policy);
  }

  /** Every rule that may match; some may be visited more than once, none that matches is left out. */
  find(c: RbacConnection, visit: Visit): void {
    visitAll(this.#always, visit);
    if (c.principal !== undefined)
      this.#principals.find(c.principal.slice('spiffe://'.length), visit);
    this.#namespaces.find(c.identity?.namespace ?? '', visit);
    if (c.identity) {
      visitAll(this.#accounts.get(accountKey(c.identity)), visit);
    }
    this.#sources.find(c.sourceIp, visit);
    this.#destinations.find(c.destinationIp, visit);
    visitAll(this.#ports.get(c.destinationPort), visit);
  }

  *#slots(clause: Clause): IterableIterator<Slot> {
    for (const m of clause) {
      if (isEmptyMatch(m)) continue;
      switch (bestField(m)?.field) {
        case 'principals':
          for (const v of m.principals.any) yield this.#principals.slot(v);
          break;
        case 'namespaces':
          for (const v of m.namespaces.any) yield this.#namespaces.slot(v);
          break;
        case 'serviceAccounts':
          for (const v of m.serviceAccounts.any)
            yield { table: this.#accounts, key: accountKey(v) };
          break;
        case 'sourceIps':
          for (const v of m.sourceIps.any) yield this.#sources.slot(v);
          break;
        case 'destinationIps':
          for (const v of m.destinationIps.any) yield this.#destinations.slot(v);
          break;
        case 'destinationPorts':
          for (const v of m.destinationPorts.any) yield { table: this.#ports, key: v };
          break;
        case undefined:
          break;
      }
    }
  }
}

const accountKey = (a: { namespace: string; serviceAccount: string }): string =>
  `${a.namespace}/${a.serviceAccount}`;
