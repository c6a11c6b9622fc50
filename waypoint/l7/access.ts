// L7 authorization (waypoint-l7.md 6): policies compiled to tests, judged deny first, then allow. The caller's
// identity comes from the tunnel and from nowhere else.
import { cidrContains, parseCidr, parseIpBytes } from '../../core/base/index.ts';
import type { Identity } from '../../core/model/index.ts';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { HeaderList } from '../http/exchange.ts';
import { compileTemplate } from './path-template.ts';
import type { Faults } from './faults.ts';
import { claimAt, claimTexts } from './token.ts';
import type { EndUser } from './token-rules.ts';

/** What a decision is made on; `http` is absent for opaque connections. */
export interface AccessFacts {
  /** `td/ns/N/sa/S`, without scheme; absent = no identity. */
  readonly principal: string | undefined;
  readonly identity: Identity | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  /** The service's port. */
  readonly destinationPort: number;
  readonly http?: {
    readonly method: string;
    /** Normalised, without query. */
    readonly path: string;
    readonly host: string;
    readonly headers: HeaderList;
    /** Of a checked token. */
    readonly user?: EndUser | undefined;
  };
}

type Test = (f: AccessFacts) => boolean;

export interface CompiledAccess {
  judge(f: AccessFacts): Judgement;
}

export type Judgement =
  | { readonly allow: true; readonly by?: string; readonly dryRun: readonly string[] }
  /** `by` is absent when no ALLOW policy allows. */
  | {
      readonly allow: false;
      readonly by?: string;
      readonly rule?: number;
      readonly dryRun: readonly string[];
    };

const always: Test = () => true;
const never: Test = () => false;

const isEmpty = (t: wire.L7Texts | null | undefined): boolean =>
  !t || (t.any.length === 0 && t.none.length === 0);

/** exact, `prefix*`, `*suffix`, `*` = anything that is there. */
export function textTest(pattern: string, blank = false): (s: string) => boolean {
  if (pattern === '*') return blank ? () => true : (s) => s !== '';
  if (pattern.startsWith('*')) {
    const tail = pattern.slice(1);
    return (s) => s.endsWith(tail);
  }
  if (pattern.endsWith('*')) {
    const start = pattern.slice(0, -1);
    return (s) => s.startsWith(start);
  }
  return (s) => s === pattern;
}

/** `values` gives what is compared; none = positive fields fail, negative ones succeed. */
function field<V = string>(
  t: wire.L7Texts | null | undefined,
  make: (pattern: string) => (s: V) => boolean,
  values: (f: AccessFacts) => readonly V[],
): Test | undefined {
  if (!t || isEmpty(t)) return undefined;
  const any = t.any.map(make);
  const none = t.none.map(make);
  return (f) => {
    const given = values(f);
    const hit = (test: (s: V) => boolean): boolean => given.some((s) => test(s));
    return (any.length === 0 || any.some(hit)) && !none.some(hit);
  };
}

const and = (tests: readonly (Test | undefined)[]): Test => {
  const some = tests.filter((t) => t !== undefined);
  return some.length === 0 ? always : (f) => some.every((t) => t(f));
};

function ipField(
  t: wire.L7Texts | null | undefined,
  values: (f: AccessFacts) => readonly string[],
  faults: Faults,
): Test | undefined {
  return field(
    t,
    (pattern) => {
      const cidr = parseCidr(pattern);
      if (!cidr) {
        faults.add(`address block ${JSON.stringify(pattern.slice(0, 60))}`);
        return () => false;
      }
      return (s) => {
        const bytes = parseIpBytes(s);
        return bytes !== undefined && cidrContains(cidr, bytes);
      };
    },
    values,
  );
}

/** `*` anywhere in the value. */
function namespaceTest(pattern: string): (s: string) => boolean {
  if (!pattern.includes('*')) return (s) => s === pattern;
  const parts = pattern.split('*');
  return (s) => matchesParts(s, parts);
}

function matchesParts(s: string, parts: readonly string[]): boolean {
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (!s.startsWith(first) || s.length < first.length + last.length || !s.endsWith(last))
    return false;
  let at = first.length;
  const end = s.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = s.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

const one = (s: string | undefined): readonly string[] => (s === undefined ? [] : [s]);
const principal = (f: AccessFacts): readonly string[] => one(f.principal);
const namespace = (f: AccessFacts): readonly string[] => one(f.identity?.namespace);
const account = (f: AccessFacts): readonly string[] =>
  one(f.identity && `${f.identity.namespace}/${f.identity.serviceAccount}`);
const sourceIp = (f: AccessFacts): readonly string[] => [f.sourceIp];

/** The rightmost X-Forwarded-For entry where there is one, else the caller: no protection inside the mesh. */
function remoteIp(f: AccessFacts): readonly string[] {
  const lines = f.http?.headers.filter(([n]) => n === 'x-forwarded-for') ?? [];
  const last = lines.at(-1)?.[1].split(',').at(-1)?.trim();
  return [last !== undefined && parseIpBytes(last) ? last : f.sourceIp];
}

const exact =
  (pattern: string) =>
  (s: string): boolean =>
    s === pattern;

const user = (f: AccessFacts): readonly EndUser[] => {
  const u = f.http?.user;
  return u && u.issuer !== '' && u.subject !== '' ? [u] : [];
};

/** `issuer/subject`, split at the last slash: the subject may end in `*`, or the issuer begin with it. */
function userTest(pattern: string): (u: EndUser) => boolean {
  if (pattern === '*') return () => true;
  const cut = pattern.lastIndexOf('/');
  if (cut < 0) {
    const test = textTest(pattern);
    return (u) => test(`${u.issuer}/${u.subject}`);
  }
  const [issuer, subject] = [pattern.slice(0, cut), pattern.slice(cut + 1)];
  if (issuer.startsWith('*')) {
    const tail = textTest(issuer);
    return (u) => u.subject === subject && tail(u.issuer);
  }
  const test = subject === '*' ? () => true : textTest(subject);
  return (u) => u.issuer === issuer && test(u.subject);
}

/** Texts of a claim: of a list each on its own, of `scope` and its like each word. */
const claims =
  (path: readonly string[]) =>
  (f: AccessFacts): readonly string[] => {
    const u = f.http?.user;
    const words = path.length === 1 && u?.spaceDelimited.has(path[0] ?? '') === true;
    return u ? claimTexts(claimAt(u.claims, path), words) : [];
  };

function source(s: wire.L7AccessSource, faults: Faults): Test {
  return and([
    field(s.principals, textTest, principal),
    field(s.namespaces, namespaceTest, namespace),
    field(s.serviceAccounts, exact, account),
    ipField(s.ipBlocks, sourceIp, faults),
    ipField(s.remoteIpBlocks, remoteIp, faults),
    field(s.requestPrincipals, userTest, user),
  ]);
}

function pathTest(pattern: string, faults: Faults): (s: string) => boolean {
  if (!pattern.includes('{')) return textTest(pattern);
  const made = compileTemplate(pattern);
  if (typeof made === 'function') return made;
  faults.add(`path template ${JSON.stringify(pattern.slice(0, 80))}: ${made.refused}`);
  return () => false;
}

const port = (f: AccessFacts): readonly string[] => [String(f.destinationPort)];

/** As it came, and without port and the dot at its end. */
function hostForms(f: AccessFacts): readonly string[] {
  const host = f.http?.host.toLowerCase();
  return host === undefined ? [] : [host, host.replace(/:\d*$/, '').replace(/\.$/, '')];
}
const hostAsIs = (f: AccessFacts): readonly string[] => hostForms(f).slice(0, 1);

/** A name in another spelling is no way around a DENY, and no way into an ALLOW. */
function hosts(t: wire.L7Texts | null | undefined, deny: boolean): readonly (Test | undefined)[] {
  const make = (p: string) => textTest(p.toLowerCase(), true);
  const { any = [], none = [] } = t ?? {};
  return [
    field({ any, none: [] }, make, deny ? hostForms : hostAsIs),
    field({ any: [], none }, make, deny ? hostAsIs : hostForms),
  ];
}

/** HTTP fields of an opaque connection have no values: positive ones fail, so ALLOW does not match. */
function operation(o: wire.L7AccessOperation, faults: Faults, deny: boolean): Test {
  return and([
    ...hosts(o.hosts, deny),
    field(
      o.methods,
      (p) => textTest(p, true),
      (f) => one(f.http?.method),
    ),
    field(
      o.paths,
      (p) => pathTest(p, faults),
      (f) => one(f.http?.path),
    ),
    field(o.ports, exact, port),
  ]);
}

function condition(c: wire.L7AccessCondition, faults: Faults, deny: boolean): Test | undefined {
  const { key, values } = c;
  switch (key) {
    case 'source.ip':
      return ipField(values, sourceIp, faults);
    case 'remote.ip':
      return ipField(values, remoteIp, faults);
    case 'source.namespace':
      return field(values, namespaceTest, namespace);
    case 'source.principal':
      return field(values, textTest, principal);
    case 'source.serviceAccount':
      return field(values, exact, account);
    case 'destination.ip':
      return ipField(values, (f) => [f.destinationIp], faults);
    case 'destination.port':
      return field(values, exact, port);
    case 'request.auth.principal':
      return field(values, userTest, user);
    case 'request.auth.audiences':
      return field(values, textTest, claims(['aud']));
    case 'request.auth.presenter':
      return field(values, textTest, claims(['azp']));
    default:
      break;
  }
  const path = claimPath(key);
  if (path) return field(values, textTest, claims(path));
  return headerCondition(key, values, faults, deny);
}

/** `request.auth.claims[a][b]`: b in a. */
function claimPath(key: string): readonly string[] | undefined {
  const inner = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/.exec(key)?.[1];
  return inner?.slice(1, -1).split('][');
}

function headerCondition(
  key: string,
  values: wire.L7Texts | null | undefined,
  faults: Faults,
  deny: boolean,
): Test | undefined {
  const name = /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase();
  if (name === undefined) {
    faults.add(`condition ${JSON.stringify(key.slice(0, 80))}`);
    return never;
  }
  if (!values || isEmpty(values)) return undefined;
  const lines = (f: AccessFacts): readonly string[] =>
    (f.http?.headers ?? []).filter(([n]) => n === name).map(([, v]) => v);
  const any = values.any.map((p) => textTest(p, true));
  const none = values.none.map((p) => textTest(p, true));
  const meets = (tests: readonly ((v: string) => boolean)[]) => (v: string) =>
    tests.some((t) => t(v));
  return deny ? deniedLines(lines, any, none, meets) : allowedLines(lines, any, none, meets);
}

type Lines = (f: AccessFacts) => readonly string[];
type Texts = readonly ((v: string) => boolean)[];
type Meets = (tests: Texts) => (v: string) => boolean;

/** Every line must be as it has to be (row L12): one more of them opens nothing. */
const allowedLines =
  (lines: Lines, any: Texts, none: Texts, meets: Meets): Test =>
  (f) => {
    const given = lines(f);
    return (
      (any.length === 0 || (given.length > 0 && given.every(meets(any)))) &&
      !given.some(meets(none))
    );
  };

/** One line is enough, and so is one part of a list in it; one good line beside a bad one hides nothing. */
const deniedLines =
  (lines: Lines, any: Texts, none: Texts, meets: Meets): Test =>
  (f) => {
    const given = lines(f);
    const parts = given.flatMap((v) => [v, ...v.split(',').map((p) => p.trim())]);
    const unlisted = given.length === 0 || !given.every(meets(none));
    return (any.length === 0 || parts.some(meets(any))) && (none.length === 0 || unlisted);
  };

const usesHttp = (r: wire.L7AccessRule): boolean =>
  r.to.some((o) => !isEmpty(o.hosts) || !isEmpty(o.methods) || !isEmpty(o.paths)) ||
  r.from.some((s) => !isEmpty(s.requestPrincipals) || !isEmpty(s.remoteIpBlocks)) ||
  r.when.some((w) => w.key.startsWith('request.') || w.key === 'remote.ip');

/** Without what only HTTP can tell; for DENY on opaque connections. */
function withoutHttp(r: wire.L7AccessRule): wire.L7AccessRule {
  return {
    ...r,
    from: r.from.map((s) => ({ ...s, requestPrincipals: null, remoteIpBlocks: null })),
    to: r.to.map((o) => ({ ...o, hosts: null, methods: null, paths: null })),
    when: r.when.filter((w) => !w.key.startsWith('request.') && w.key !== 'remote.ip'),
  };
}

function ruleTest(r: wire.L7AccessRule, faults: Faults, deny: boolean): Test {
  const any = (tests: readonly Test[]): Test =>
    tests.length === 0 ? always : (f) => tests.some((t) => t(f));
  return and([
    any(r.from.map((s) => source(s, faults))),
    any(r.to.map((o) => operation(o, faults, deny))),
    ...r.when.map((w) => condition(w, faults, deny)),
  ]);
}

/** On an opaque connection ALLOW rules that need HTTP never match; DENY rules hold without that part. */
export function compileRule(r: wire.L7AccessRule, deny: boolean, faults: Faults): Test {
  if (r.unreadable && !deny) return never;
  const full = ruleTest(r, faults, deny);
  if (!usesHttp(r)) return full;
  const opaque = deny ? ruleTest(withoutHttp(r), faults, deny) : never;
  return (f) => (f.http ? full(f) : opaque(f));
}

interface Compiled {
  readonly key: string;
  readonly action: 'allow' | 'deny' | 'custom';
  readonly dryRun: boolean;
  readonly rules: readonly Test[];
}

const actionOf = (p: wire.L7AccessPolicy): Compiled['action'] =>
  p.action === L7PolicyAction.ALLOW
    ? 'allow'
    : p.action === L7PolicyAction.CUSTOM
      ? 'custom'
      : 'deny';

export function compileAccess(
  policies: readonly wire.L7AccessPolicy[],
  faults: Faults,
): CompiledAccess {
  const all = policies.map((p): Compiled => {
    const action = actionOf(p);
    const rules = p.rules.map((r) => compileRule(r, action !== 'allow', faults));
    return { key: p.key, action, dryRun: p.dryRun && action !== 'custom', rules };
  });
  const enforced = all.filter((p) => !p.dryRun);
  const shadow = all.filter((p) => p.dryRun);
  const denies = enforced.filter((p) => p.action === 'deny');
  const allows = enforced.filter((p) => p.action === 'allow');
  // Nobody is asked about opaque connections: what would be asked is refused.
  const opaqueDenies = enforced.filter((p) => p.action !== 'allow');
  return {
    judge(f) {
      const dryRun = shadow.filter((p) => p.rules.some((t) => t(f))).map((p) => p.key);
      for (const p of f.http ? denies : opaqueDenies) {
        const rule = p.rules.findIndex((t) => t(f));
        if (rule >= 0) return { allow: false, by: p.key, rule, dryRun };
      }
      if (allows.length === 0) return { allow: true, dryRun };
      const by = allows.find((p) => p.rules.some((t) => t(f)))?.key;
      return by === undefined ? { allow: false, dryRun } : { allow: true, by, dryRun };
    },
  };
}
