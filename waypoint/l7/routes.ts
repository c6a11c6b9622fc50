// Which rule a request meets: entries come in order of precedence, first match wins (waypoint-l7.md 3.2,
// 3.3). Exact paths and prefixes are looked up, so that a thousand routes cost no more than a few.
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { HeaderList, RequestHead } from '../http/exchange.ts';
import type { LinearRegex } from '../http/regex.ts';
import { type Backend, compileBackend } from './backend.ts';
import type { Faults } from './faults.ts';

export interface CompiledRule {
  readonly route: string;
  readonly name: string;
  readonly filters: wire.L7RouteFilters | undefined;
  readonly backends: readonly Backend[];
  readonly mirrors: readonly { readonly backend: Backend; readonly share: number }[];
  readonly requestTimeoutMs: number;
  readonly backendTimeoutMs: number;
  readonly retry: wire.L7RetryPolicy | undefined;
  readonly broken: boolean;
  /** The prefix of the match that hit, for ReplacePrefixMatch; rules with such a filter have one match. */
  readonly prefix: string;
}

type ValueTest = (value: string) => boolean;

interface Entry {
  readonly rule: CompiledRule;
  readonly method: string;
  readonly headers: readonly (readonly [string, ValueTest])[];
  readonly query: readonly (readonly [string, ValueTest])[];
  readonly grpc: boolean;
}

export interface RouteTable {
  find(head: RequestHead): CompiledRule | undefined;
}

function valueTest(m: wire.L7ValueMatch, faults: Faults): readonly [string, ValueTest] {
  if (!m.regex) return [m.name, (v) => v === m.value];
  return [m.name, faults.regex(m.value)];
}

function compileRule(r: wire.L7RouteRule): Omit<CompiledRule, 'prefix'> {
  const mirrors = (r.filters?.mirrors ?? []).flatMap((m) => {
    if (!m.backend) return [];
    const share = m.denominator === 0 ? 1 : m.numerator / m.denominator;
    return [{ backend: compileBackend(m.backend), share }];
  });
  return {
    route: r.route,
    name: r.name,
    filters: r.filters ?? undefined,
    backends: r.backends.map(compileBackend),
    mirrors,
    requestTimeoutMs: r.requestTimeoutMs,
    backendTimeoutMs: r.backendTimeoutMs,
    retry: r.retry ?? undefined,
    broken: r.broken,
  };
}

const isGrpcType = (headers: HeaderList): boolean =>
  headers.some(([n, v]) => n === 'content-type' && v.startsWith('application/grpc'));

/** The first value of a query parameter, decoded as a form would. */
function queryValue(query: string, name: string): string | undefined {
  return new URLSearchParams(query.slice(1)).get(name) ?? undefined;
}

function meets(e: Entry, head: RequestHead): boolean {
  if (e.method !== '' && e.method !== head.method) return false;
  for (const [name, test] of e.headers) {
    // Every line on its own.
    if (!head.headers.some(([n, v]) => n === name && test(v))) return false;
  }
  for (const [name, test] of e.query) {
    const value = queryValue(head.query, name);
    if (value === undefined || !test(value)) return false;
  }
  return !e.grpc || isGrpcType(head.headers);
}

class Table implements RouteTable {
  readonly exact = new Map<string, Entry[]>();
  readonly prefixes = new Map<string, Entry[]>();
  readonly regexes: (readonly [LinearRegex, Entry])[] = [];
  readonly any: Entry[] = [];

  find(head: RequestHead): CompiledRule | undefined {
    const { path } = head;
    const hit = (entries: readonly Entry[] | undefined): Entry | undefined =>
      entries?.find((e) => meets(e, head));
    const exact = hit(this.exact.get(path));
    if (exact) return exact.rule;
    for (const prefix of prefixesOf(path)) {
      const found = hit(this.prefixes.get(prefix));
      if (found) return found.rule;
    }
    const matched = this.regexes.find(([test, e]) => meets(e, head) && test(path));
    return matched?.[1].rule ?? hit(this.any)?.rule;
  }
}

/** `/a/b` → `/a/b`, `/a`, `` : longest first, whole segments. */
function* prefixesOf(path: string): IterableIterator<string> {
  let end = path.length;
  if (path.endsWith('/')) end -= 1;
  for (;;) {
    yield path.slice(0, end);
    if (end <= 0) return;
    end = path.lastIndexOf('/', end - 1);
    if (end < 0) return;
  }
}

function add(map: Map<string, Entry[]>, key: string, e: Entry): void {
  const list = map.get(key);
  if (list) list.push(e);
  else map.set(key, [e]);
}

export function compileTable(t: wire.L7RouteTable, faults: Faults): RouteTable {
  const rules = t.rules.map(compileRule);
  const table = new Table();
  for (const { match, rule: index } of t.entries) {
    const rule = rules[index];
    if (!rule || !match) {
      faults.add('a route entry without a rule or match');
      continue;
    }
    const prefix = match.pathKind === L7PathKind.PREFIX ? match.path : '';
    const entry: Entry = {
      rule: { ...rule, prefix },
      method: match.method,
      headers: match.headers.map((m) => valueTest(m, faults)),
      query: match.query.map((m) => valueTest(m, faults)),
      grpc: match.grpc,
    };
    if (match.pathKind === L7PathKind.EXACT) add(table.exact, match.path, entry);
    else if (match.pathKind === L7PathKind.PREFIX) add(table.prefixes, match.path, entry);
    else if (match.pathKind === L7PathKind.REGEX) {
      table.regexes.push([faults.regex(match.path), entry]);
    } else table.any.push(entry);
  }
  return table;
}
