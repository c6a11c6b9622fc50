// The first of many matches that a request meets, without looking at all of them (waypoint-l7.md 3.2, 3.3, 5.5).
// Entries stand in order of precedence; paths are looked up, and entries of one path by an exact header or query
// parameter they ask for, so that a thousand routes cost no more than a few.
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { HeaderList, RequestHead } from '../http/exchange.ts';
import type { Faults } from './faults.ts';
import { claimAt, claimTexts } from './token.ts';
import type { EndUser } from './token-rules.ts';

/** What a match may ask for beside the request itself. */
export interface Caller {
  readonly uid: string;
  readonly namespace: string;
  readonly user?: EndUser | undefined;
}

type Test = (value: string) => boolean;

export interface MatchEntry<T> {
  readonly value: T;
  /** Place in the order of precedence. */
  readonly order: number;
  readonly tests: readonly ((head: RequestHead, caller: Caller) => boolean)[];
  /** `header name: value` or `query name=value` that must be there exactly. */
  readonly anchor: string | undefined;
}

/** How much was looked at, for tests: entries judged and keys looked up. */
export interface Meter {
  steps: number;
}

export function valueTest(m: wire.L7ValueMatch, faults: Faults): Test {
  if (m.present) return () => true;
  if (m.regex) return faults.regex(m.value);
  return m.prefix ? (v) => v.startsWith(m.value) : (v) => v === m.value;
}

const isGrpcType = (headers: HeaderList): boolean =>
  headers.some(([n, v]) => n === 'content-type' && v.startsWith('application/grpc'));

const isExact = (m: wire.L7ValueMatch): boolean =>
  !m.regex && !m.prefix && !m.present && !m.name.startsWith(claimName);

const claimName = '@request.auth.claims';

/** Of a header each line; of `@request.auth.claims.a.b` or `…[a][b]` the texts of a checked token's claim. */
function valuesOf(name: string): (head: RequestHead, caller: Caller) => readonly string[] {
  if (!name.startsWith(claimName))
    return (head) => head.headers.filter(([n]) => n === name).map(([, v]) => v);
  const rest = name.slice(claimName.length);
  const path = rest.startsWith('.') ? rest.slice(1).split('.') : rest.slice(1, -1).split('][');
  return (_head, { user }) => {
    const words = path.length === 1 && user?.spaceDelimited.has(path[0] ?? '') === true;
    return user ? claimTexts(claimAt(user.claims, path), words) : [];
  };
}

const schemeOf = (head: RequestHead): string =>
  head.headers.find(([n]) => n === 'x-forwarded-proto')?.[1] ?? 'http';

export function compileEntry<T>(
  m: wire.L7RouteMatch,
  value: T,
  order: number,
  faults: Faults,
): MatchEntry<T> {
  const tests: ((head: RequestHead, caller: Caller) => boolean)[] = [];
  if (m.method !== '') tests.push((h) => h.method === m.method);
  // Every line of a repeated header on its own.
  for (const h of m.headers) {
    const [test, values] = [valueTest(h, faults), valuesOf(h.name)];
    tests.push((head, caller) => values(head, caller).some(test));
  }
  for (const h of m.withoutHeaders) {
    const [test, values] = [valueTest(h, faults), valuesOf(h.name)];
    tests.push((head, caller) => !values(head, caller).some(test));
  }
  for (const q of m.query) {
    const test = valueTest(q, faults);
    tests.push(({ query }) => {
      // The first value, decoded as a form would.
      const given = new URLSearchParams(query.slice(1)).get(q.name);
      return given !== null && test(given);
    });
  }
  const part = (p: wire.L7ValueMatch | null | undefined, of: (h: RequestHead) => string): void => {
    if (!p) return;
    const test = valueTest(p, faults);
    tests.push((head) => test(of(head)));
  };
  part(m.authority, (h) => h.authority);
  part(m.scheme, schemeOf);
  part(m.methodMatch, (h) => h.method);
  if (m.grpc) tests.push((h) => isGrpcType(h.headers));
  if (m.bySource) {
    const sources = new Set(m.sources);
    tests.push((_h, c) => sources.has(c.uid));
  }
  if (m.sourceNamespace !== '') tests.push((_h, c) => c.namespace === m.sourceNamespace);
  const header = m.headers.find(isExact);
  const query = m.query.find(isExact);
  const anchor = header
    ? `h ${header.name}: ${header.value}`
    : query && `q ${query.name}=${query.value}`;
  return { value, order, tests, anchor };
}

/** Entries of one path. */
class Bucket<T> {
  readonly #rest: MatchEntry<T>[] = [];
  readonly #anchored = new Map<string, MatchEntry<T>[]>();
  #byHeader = false;
  #byQuery = false;

  add(e: MatchEntry<T>): void {
    if (e.anchor === undefined) this.#rest.push(e);
    else {
      this.#anchored.set(e.anchor, [...(this.#anchored.get(e.anchor) ?? []), e]);
      if (e.anchor.startsWith('h')) this.#byHeader = true;
      else this.#byQuery = true;
    }
  }

  /** The first that is met and stands before `limit`. */
  find(head: RequestHead, caller: Caller, limit: number, meter: Meter): MatchEntry<T> | undefined {
    let best: MatchEntry<T> | undefined;
    const look = (list: readonly MatchEntry<T>[] | undefined): void => {
      for (const e of list ?? []) {
        if (e.order >= (best?.order ?? limit)) return;
        meter.steps++;
        if (!e.tests.every((t) => t(head, caller))) continue;
        best = e;
        return;
      }
    };
    const keyed = (list: readonly MatchEntry<T>[] | undefined): void => {
      meter.steps++;
      look(list);
    };
    look(this.#rest);
    if (this.#byHeader) {
      for (const [name, value] of head.headers) keyed(this.#anchored.get(`h ${name}: ${value}`));
    }
    if (this.#byQuery) {
      for (const [name, value] of new URLSearchParams(head.query.slice(1))) {
        keyed(this.#anchored.get(`q ${name}=${value}`));
      }
    }
    return best;
  }
}

type Buckets<T> = Map<string, Bucket<T>>;

function bucketOf<T>(map: Buckets<T>, key: string): Bucket<T> {
  let bucket = map.get(key);
  if (!bucket) {
    bucket = new Bucket();
    map.set(key, bucket);
  }
  return bucket;
}

/** `/a/b` → `/a/b`, `/a`, `` : longest first, whole segments. */
function* segmentsOf(path: string): IterableIterator<string> {
  let end = path.endsWith('/') ? path.length - 1 : path.length;
  for (;;) {
    yield path.slice(0, end);
    if (end <= 0) return;
    end = path.lastIndexOf('/', end - 1);
    if (end < 0) return;
  }
}

export class Matcher<T> {
  readonly #exact: Buckets<T> = new Map();
  readonly #segments: Buckets<T> = new Map();
  readonly #characters: Buckets<T> = new Map();
  readonly #folded: { exact: Buckets<T>; characters: Buckets<T> } = {
    exact: new Map(),
    characters: new Map(),
  };
  readonly #lengths = new Set<number>();
  readonly #regexes: { readonly test: Test; readonly entry: MatchEntry<T> }[] = [];
  readonly #any = new Bucket<T>();

  /** In order of precedence. */
  add(m: wire.L7RouteMatch, entry: MatchEntry<T>, faults: Faults): void {
    const path = m.ignoreCase ? m.path.toLowerCase() : m.path;
    switch (m.pathKind) {
      case L7PathKind.EXACT:
        bucketOf(m.ignoreCase ? this.#folded.exact : this.#exact, path).add(entry);
        break;
      case L7PathKind.PREFIX:
        bucketOf(this.#segments, path).add(entry);
        break;
      case L7PathKind.STRING_PREFIX:
        bucketOf(m.ignoreCase ? this.#folded.characters : this.#characters, path).add(entry);
        this.#lengths.add(path.length);
        break;
      case L7PathKind.REGEX:
        this.#regexes.push({ test: faults.regex(m.path), entry });
        break;
      default:
        this.#any.add(entry);
    }
  }

  find(head: RequestHead, caller: Caller, meter: Meter = { steps: 0 }): T | undefined {
    const { path } = head;
    let best: MatchEntry<T> | undefined;
    const look = (bucket: Bucket<T> | undefined): void => {
      meter.steps++;
      best = bucket?.find(head, caller, best?.order ?? Number.POSITIVE_INFINITY, meter) ?? best;
    };
    look(this.#exact.get(path));
    for (const prefix of segmentsOf(path)) look(this.#segments.get(prefix));
    const low =
      this.#folded.exact.size + this.#folded.characters.size > 0 ? path.toLowerCase() : '';
    if (low !== '') look(this.#folded.exact.get(low));
    for (const n of this.#lengths) {
      if (n > path.length) continue;
      look(this.#characters.get(path.slice(0, n)));
      if (low !== '') look(this.#folded.characters.get(low.slice(0, n)));
    }
    for (const { test, entry } of this.#regexes) {
      if (entry.order >= (best?.order ?? Number.POSITIVE_INFINITY)) break;
      meter.steps++;
      if (!entry.tests.every((t) => t(head, caller)) || !test(path)) continue;
      best = entry;
      break;
    }
    look(this.#any);
    return best?.value;
  }
}
