// HTTPRoute and GRPCRoute rules → what a waypoint carries out: matches in the order of precedence, filters,
// backends, limits (waypoint-l7.md 3). What cannot be understood answers 500, and its author reads why.
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { parseDuration } from '../../core/runtime/index.ts';
import { field, list, text, texts } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { readBackend } from './backends.ts';
import { matchFault } from './expressions.ts';
import { number, type RouteFacts } from './objects.ts';

export type RuleNotes = { reason: string; message: string }[];

/** One match of one rule, with what its place is decided by. */
interface Ranked {
  readonly match: Draft<wire.L7RouteMatch>;
  readonly rule: number;
  readonly rank: readonly number[];
}

const rankOfKind: Record<number, number> = {
  [L7PathKind.EXACT]: 3,
  [L7PathKind.PREFIX]: 2,
  [L7PathKind.REGEX]: 1,
  [L7PathKind.ANY]: 0,
};

function valueMatches(v: unknown, fold: boolean): Draft<wire.L7ValueMatch>[] {
  const seen = new Map<string, Draft<wire.L7ValueMatch>>();
  for (const m of list(v)) {
    const given = text(field(m, 'name'));
    const name = fold ? given.toLowerCase() : given;
    // The first entry of a name counts.
    if (seen.has(name)) continue;
    const regex = field(m, 'type') === 'RegularExpression';
    seen.set(name, { name, regex, value: text(field(m, 'value')) });
  }
  return [...seen.values()];
}

const pathKinds: Record<string, number> = {
  Exact: L7PathKind.EXACT,
  PathPrefix: L7PathKind.PREFIX,
  RegularExpression: L7PathKind.REGEX,
};

function httpMatch(m: unknown): Draft<wire.L7RouteMatch> {
  const kind = pathKinds[text(field(m, 'path', 'type')) || 'PathPrefix'] ?? L7PathKind.PREFIX;
  const path = text(field(m, 'path', 'value')) || '/';
  return {
    pathKind: kind,
    path: kind === L7PathKind.PREFIX ? path.replace(/\/+$/, '') : path,
    method: text(field(m, 'method')),
    headers: valueMatches(field(m, 'headers'), true),
    query: valueMatches(field(m, 'queryParams'), false),
  };
}

const escaped = (s: string): string => s.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

function grpcMatch(m: unknown): Draft<wire.L7RouteMatch> {
  const service = text(field(m, 'method', 'service'));
  const method = text(field(m, 'method', 'method'));
  const headers = valueMatches(field(m, 'headers'), true);
  const base = { headers, grpc: true };
  if (field(m, 'method', 'type') === 'RegularExpression') {
    const s = service === '' ? '[^/]+' : `(?:${service})`;
    const n = method === '' ? '.+' : `(?:${method})`;
    return { ...base, pathKind: L7PathKind.REGEX, path: `/${s}/${n}` };
  }
  if (service !== '' && method !== '') {
    return { ...base, pathKind: L7PathKind.EXACT, path: `/${service}/${method}` };
  }
  if (service !== '') return { ...base, pathKind: L7PathKind.PREFIX, path: `/${service}` };
  if (method !== '') {
    return { ...base, pathKind: L7PathKind.REGEX, path: `/[^/]+/${escaped(method)}` };
  }
  return { ...base, pathKind: L7PathKind.ANY, path: '' };
}

function rankOf(m: Draft<wire.L7RouteMatch>): number[] {
  return [
    rankOfKind[m.pathKind ?? 0] ?? 0,
    (m.path ?? '').length,
    m.method ? 1 : 0,
    m.headers?.length ?? 0,
    m.query?.length ?? 0,
  ];
}

function headerChange(v: unknown): Draft<wire.L7HeaderChange> | undefined {
  if (v === undefined) return undefined;
  const pairs = (name: string) =>
    list(field(v, name)).map((h) => ({
      name: text(field(h, 'name')).toLowerCase(),
      value: text(field(h, 'value')),
    }));
  const remove = texts(field(v, 'remove')).map((n) => n.toLowerCase());
  return { set: pairs('set'), add: pairs('add'), remove };
}

function pathChange(v: unknown): Draft<wire.L7PathChange> | undefined {
  if (v === undefined) return undefined;
  return field(v, 'type') === 'ReplaceFullPath'
    ? { full: text(field(v, 'replaceFullPath')) }
    : { prefix: text(field(v, 'replacePrefixMatch')) };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface Filters {
  readonly filters: Draft<wire.L7RouteFilters>;
  readonly broken: boolean;
}

function mirrorOf(world: World, route: RouteFacts, m: unknown, notes: RuleNotes) {
  const backend = readBackend(world, route, field(m, 'backendRef'), notes);
  if (backend.invalid) return undefined;
  const percent = field(m, 'percent');
  if (typeof percent === 'number') return { backend, numerator: percent, denominator: 100 };
  const fraction = field(m, 'fraction');
  if (fraction === undefined) return { backend };
  const denominator = number(field(fraction, 'denominator')) || 100;
  return { backend, numerator: number(field(fraction, 'numerator')), denominator };
}

function readFilters(world: World, route: RouteFacts, v: unknown, notes: RuleNotes): Filters {
  const out: Writable<Draft<wire.L7RouteFilters>> = {};
  const mirrors: Draft<wire.L7Mirror>[] = [];
  let broken = false;
  for (const f of list(v)) {
    const type = text(field(f, 'type'));
    switch (type) {
      case 'RequestHeaderModifier':
        out.requestHeaders = headerChange(field(f, 'requestHeaderModifier'));
        break;
      case 'ResponseHeaderModifier':
        out.responseHeaders = headerChange(field(f, 'responseHeaderModifier'));
        break;
      case 'RequestRedirect': {
        const r = field(f, 'requestRedirect');
        out.redirect = {
          scheme: text(field(r, 'scheme')),
          hostname: text(field(r, 'hostname')),
          path: pathChange(field(r, 'path')),
          port: number(field(r, 'port')),
          status: number(field(r, 'statusCode')) || 302,
        };
        break;
      }
      case 'URLRewrite': {
        const r = field(f, 'urlRewrite');
        out.rewrite = {
          hostname: text(field(r, 'hostname')),
          path: pathChange(field(r, 'path')),
        };
        break;
      }
      case 'RequestMirror': {
        const mirror = mirrorOf(world, route, field(f, 'requestMirror'), notes);
        if (mirror) mirrors.push(mirror);
        break;
      }
      case 'CORS': {
        const c = field(f, 'cors');
        out.cors = {
          origins: [...texts(field(c, 'allowOrigins'))],
          credentials: field(c, 'allowCredentials') === true,
          methods: [...texts(field(c, 'allowMethods'))],
          headers: [...texts(field(c, 'allowHeaders'))],
          expose: [...texts(field(c, 'exposeHeaders'))],
          maxAgeSeconds: number(field(c, 'maxAge')) || 5,
        };
        break;
      }
      default:
        broken = true;
        notes.push({ reason: 'InvalidFilter', message: `unsupported filter type "${type}"` });
    }
  }
  return { filters: { ...out, mirrors }, broken };
}

const milliseconds = (v: unknown): number => Math.round(parseDuration(text(v)) ?? 0);

function retryOf(v: unknown): Draft<wire.L7RetryPolicy> | undefined {
  if (v === undefined) return undefined;
  const attempts = field(v, 'attempts');
  return {
    attempts: typeof attempts === 'number' ? Math.max(0, Math.min(attempts, 10)) : 2,
    codes: list(field(v, 'codes')).map(number),
    backoffMs: milliseconds(field(v, 'backoff')),
  };
}

/** Both shapes: `cookie.name`, and `sessionName` with `cookieConfig` of releases up to 1.6 (3.7). */
function sessionOf(
  route: RouteFacts,
  v: unknown,
  index: number,
): Draft<wire.L7Session> | undefined {
  if (v === undefined) return undefined;
  const old = text(field(v, 'sessionName'));
  const absoluteTimeoutMs = milliseconds(field(v, 'absoluteTimeout'));
  if (field(v, 'type') === 'Header') {
    const header = (text(field(v, 'header', 'name')) || old || 'x-session').toLowerCase();
    return { header, absoluteTimeoutMs };
  }
  const cookie = field(v, 'cookie') ?? field(v, 'cookieConfig');
  const generated = `session-${route.namespace}-${route.name}-${index}`;
  return {
    cookie: text(field(cookie, 'name')) || old || generated,
    path: text(field(cookie, 'path')) || '/',
    permanent: field(cookie, 'lifetimeType') === 'Permanent',
    absoluteTimeoutMs,
  };
}

function readBackends(world: World, route: RouteFacts, rule: unknown, notes: RuleNotes) {
  let broken = false;
  const backends = list(field(rule, 'backendRefs')).map((b) => {
    const own = readFilters(world, route, field(b, 'filters'), notes);
    const { requestHeaders, responseHeaders, rewrite, redirect, cors, mirrors = [] } = own.filters;
    const ofRules = cors ? 'CORS' : mirrors.length > 0 ? 'RequestMirror' : undefined;
    if (ofRules !== undefined) {
      const message = `filter ${ofRules} is for rules, and not for a backendRef`;
      notes.push({ reason: 'InvalidFilter', message });
    }
    broken ||= own.broken || ofRules !== undefined;
    return {
      ...readBackend(world, route, b, notes),
      ...(requestHeaders && { requestHeaders }),
      ...(responseHeaders && { responseHeaders }),
      ...(rewrite && { rewrite }),
      ...(redirect && { redirect }),
    };
  });
  return { backends, broken };
}

export function readRule(
  world: World,
  route: RouteFacts,
  rule: unknown,
  index: number,
  notes: RuleNotes,
): Draft<wire.L7RouteRule> {
  const { filters, broken } = readFilters(world, route, field(rule, 'filters'), notes);
  const to = readBackends(world, route, rule, notes);
  for (const m of matchesOf(route, rule)) {
    const fault = matchFault(m);
    // Such a match never matches: left out, another rule decides.
    if (fault !== undefined) notes.push({ reason: 'UnsupportedValue', message: fault });
  }
  const retry = retryOf(field(rule, 'retry'));
  const session = sessionOf(route, field(rule, 'sessionPersistence'), index);
  return {
    route: `${route.namespace}/${route.name}`,
    name: text(field(rule, 'name')) || `${route.namespace}.${route.name}.${index}`,
    filters,
    backends: to.backends,
    requestTimeoutMs: milliseconds(field(rule, 'timeouts', 'request')),
    backendTimeoutMs: milliseconds(field(rule, 'timeouts', 'backendRequest')),
    ...(retry && { retry }),
    ...(session && { session }),
    broken: broken || to.broken,
  };
}

function matchesOf(route: RouteFacts, rule: unknown): Draft<wire.L7RouteMatch>[] {
  const given = list(field(rule, 'matches'));
  const read = route.kind === 'GRPCRoute' ? grpcMatch : httpMatch;
  return (given.length > 0 ? given : [{}]).map(read);
}

/** Routes of one parent and group, already in order of age and name. */
export function routeTable(world: World, routes: readonly RouteFacts[]): Draft<wire.L7RouteTable> {
  const rules: Draft<wire.L7RouteRule>[] = [];
  const ranked: Ranked[] = [];
  for (const route of routes) {
    for (const [index, rule] of route.rules.entries()) {
      const at = rules.push(readRule(world, route, rule, index, [])) - 1;
      for (const match of matchesOf(route, rule)) {
        if (matchFault(match) !== undefined) continue;
        ranked.push({ match, rule: at, rank: rankOf(match) });
      }
    }
  }
  const sorted = ranked.toSorted((a, b) => {
    for (const [i, n] of a.rank.entries()) {
      const other = b.rank[i] ?? 0;
      if (n !== other) return other - n;
    }
    return 0;
  });
  return { rules, entries: sorted.map(({ match, rule }) => ({ match, rule })) };
}
