// L7 authorization (waypoint-l7.md 6): policies compiled to tests, judged deny first, then allow. The caller's
// identity comes from the tunnel and from nowhere else.
import { cidrContains, parseCidr } from '../../core/base/index.ts';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type AccessFacts, AccessView } from './access-view.ts';
import type { Faults } from './faults.ts';
import { compileTemplate } from './path-template.ts';
import { namespaceTest, Patterns, textTest, type Values } from './texts.ts';
import type { EndUser } from './token-rules.ts';

export type { AccessFacts } from './access-view.ts';

export type Test = (v: AccessView) => boolean;

export interface CompiledAccess {
  judge(f: AccessFacts): Judgement;
  /** Some policy asks for the server name of a connection. */
  readonly bySni: boolean;
}

/** A policy that matched and decides nothing: told in the log and counted (6.1, 6.2). */
export interface Mark {
  readonly policy: string;
  readonly as: 'audit' | 'dry-run-allow' | 'dry-run-deny';
}

export type Judgement =
  | { readonly allow: true; readonly by?: string; readonly marks: readonly Mark[] }
  /** `by` is absent when no ALLOW policy allows. */
  | {
      readonly allow: false;
      readonly by?: string;
      readonly rule?: number;
      readonly marks: readonly Mark[];
    };

const always: Test = () => true;
const never: Test = () => false;

const isEmpty = (t: wire.L7Texts | null | undefined): boolean =>
  !t || (t.any.length === 0 && t.none.length === 0);

type Given = wire.L7Texts | null | undefined;
/** Patterns → whether one of them meets one of the values. */
type Compile = (patterns: readonly string[]) => Test;

/** No values = positive fields fail, negative ones succeed. */
function field(t: Given, compile: Compile): Test | undefined {
  if (!t || isEmpty(t)) return undefined;
  const any = t.any.length > 0 ? compile(t.any) : always;
  const none = t.none.length > 0 ? compile(t.none) : never;
  return (v) => any(v) && !none(v);
}

const texts =
  (of: (v: AccessView) => Values, o: { blank?: boolean; literal?: boolean } = {}): Compile =>
  (all) => {
    const patterns = new Patterns(all, o);
    return (v) => patterns.hit(of(v));
  };

const each =
  <V>(make: (pattern: string) => (x: V) => boolean, of: (v: AccessView) => readonly V[]): Compile =>
  (all) => {
    const tests = all.map(make);
    return (v) => of(v).some((x) => tests.some((test) => test(x)));
  };

const and = (tests: readonly (Test | undefined)[]): Test => {
  const some = tests.filter((t) => t !== undefined);
  const [first] = some;
  if (!first) return always;
  return some.length === 1 ? first : (v) => some.every((t) => t(v));
};

type Bytes = readonly Uint8Array[];

function ipField(t: Given, of: (v: AccessView) => Bytes, faults: Faults): Test | undefined {
  const make = (pattern: string): ((ip: Uint8Array) => boolean) => {
    const cidr = parseCidr(pattern);
    if (cidr) return (ip) => cidrContains(cidr, ip);
    faults.add(`address block ${JSON.stringify(pattern.slice(0, 60))}`);
    return () => false;
  };
  return field(t, each(make, of));
}

/** `*` anywhere in the value. */
const namespaces: Compile = (all) => {
  const wild = all.filter((p) => p.includes('*')).map(namespaceTest);
  const plain = texts((v) => v.namespace, { literal: true })(all.filter((p) => !p.includes('*')));
  return (v) => plain(v) || v.namespace.all.some((s) => wild.some((test) => test(s)));
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

const source = (s: wire.L7AccessSource, faults: Faults): Test =>
  and([
    field(
      s.principals,
      texts((v) => v.principal),
    ),
    field(s.namespaces, namespaces),
    field(
      s.serviceAccounts,
      texts((v) => v.account, { literal: true }),
    ),
    ipField(s.ipBlocks, (v) => v.sourceIp, faults),
    ipField(s.remoteIpBlocks, (v) => v.remoteIp, faults),
    field(
      s.requestPrincipals,
      each(userTest, (v) => v.users),
    ),
  ]);

/** Texts, and templates of segments. */
const paths =
  (faults: Faults): Compile =>
  (all) => {
    const plain = texts((v) => v.path)(all.filter((p) => !p.includes('{')));
    const templates = all
      .filter((p) => p.includes('{'))
      .map((p) => {
        const made = compileTemplate(p);
        if (typeof made === 'function') return made;
        faults.add(`path template ${JSON.stringify(p.slice(0, 80))}: ${made.refused}`);
        return () => false;
      });
    if (templates.length === 0) return plain;
    return (v) => plain(v) || templates.some((fits) => fits(v.segmented));
  };

/** A name in another spelling is no way around a DENY, and no way into an ALLOW. */
function hosts(t: Given, deny: boolean): readonly (Test | undefined)[] {
  const { any = [], none = [] } = t ?? {};
  const of = (forms: boolean): Compile => {
    const compile = texts((v) => (forms ? v.hostForms : v.host), { blank: true });
    return (all) => compile(all.map((p) => p.toLowerCase()));
  };
  return [field({ any, none: [] }, of(deny)), field({ any: [], none }, of(!deny))];
}

/** HTTP fields of an opaque connection have no values: positive ones fail, so ALLOW does not match. */
const operation = (o: wire.L7AccessOperation, faults: Faults, deny: boolean): Test =>
  and([
    ...hosts(o.hosts, deny),
    field(
      o.methods,
      texts((v) => v.method, { blank: true }),
    ),
    field(o.paths, paths(faults)),
    field(
      o.ports,
      texts((v) => v.port, { literal: true }),
    ),
  ]);

const claims = (path: readonly string[]): Compile => {
  const key = JSON.stringify(path);
  return texts((v) => v.claim(key, path));
};

const serverNames = texts((v) => v.serverName);

function condition(c: wire.L7AccessCondition, faults: Faults, deny: boolean): Test | undefined {
  const { key, values } = c;
  switch (key) {
    case 'source.ip':
      return ipField(values, (v) => v.sourceIp, faults);
    case 'remote.ip':
      return ipField(values, (v) => v.remoteIp, faults);
    case 'destination.ip':
      return ipField(values, (v) => v.destinationIp, faults);
    case 'source.namespace':
      return field(values, namespaces);
    case 'source.principal':
      return field(
        values,
        texts((v) => v.principal),
      );
    case 'source.serviceAccount':
      return field(
        values,
        texts((v) => v.account, { literal: true }),
      );
    case 'destination.port':
      return field(
        values,
        texts((v) => v.port, { literal: true }),
      );
    case 'connection.sni':
      return field(values, (all) => serverNames(all.map((p) => p.toLowerCase())));
    case 'request.auth.principal':
      return field(
        values,
        each(userTest, (v) => v.users),
      );
    case 'request.auth.audiences':
      return field(values, claims(['aud']));
    case 'request.auth.presenter':
      return field(values, claims(['azp']));
    default:
      break;
  }
  const path = claimPath(key);
  if (path) return field(values, claims(path));
  const said = metadataKey(key);
  if (said !== undefined) return field(values, metadata(said));
  return headerCondition(key, values, faults, deny);
}

/** `request.auth.claims[a][b]`: b in a. */
function claimPath(key: string): readonly string[] | undefined {
  const inner = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/.exec(key)?.[1];
  return inner?.slice(1, -1).split('][');
}

/** What an external authorizer said: a text, or with `[value]` one of a list. */
function metadataKey(key: string): string | undefined {
  return /^experimental\.envoy\.filters\.http\.ext_authz\[([^[\]]+)\]$/.exec(key)?.[1];
}

const metadata =
  (key: string): Compile =>
  (all) => {
    const listed = all.filter((p) => p.startsWith('[') && p.endsWith(']'));
    const text = texts((v) => v.said(key).text)(all.filter((p) => !listed.includes(p)));
    const member = texts((v) => v.said(key).list)(listed.map((p) => p.slice(1, -1)));
    return (v) => text(v) || member(v);
  };

function headerCondition(
  key: string,
  values: Given,
  faults: Faults,
  deny: boolean,
): Test | undefined {
  const name = /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase();
  if (name === undefined) {
    faults.add(`condition ${JSON.stringify(key.slice(0, 80))}`);
    return never;
  }
  if (!values || isEmpty(values)) return undefined;
  const pair = { any: values.any, none: values.none };
  return deny ? deniedLines(name, pair) : allowedLines(name, pair);
}

interface Pair {
  readonly any: readonly string[];
  readonly none: readonly string[];
}

/** Every line must be as it has to be (row L12): one more of them opens nothing. */
function allowedLines(name: string, p: Pair): Test {
  const any = new Patterns(p.any, { blank: true });
  const none = new Patterns(p.none, { blank: true });
  return (v) => {
    const given = v.lines(name);
    const fit = p.any.length === 0 || (given.length > 0 && v.linesMeet(name, any));
    return fit && !given.some((s) => none.meet(s));
  };
}

/** One line is enough, and so is one part of a list in it; one good line beside a bad one hides nothing. */
function deniedLines(name: string, p: Pair): Test {
  const any = new Patterns(p.any, { blank: true });
  const none = new Patterns(p.none, { blank: true });
  return (v) => {
    if (p.any.length > 0) {
      const parts = v.parts(name);
      if (parts !== 'too many' && !any.hit(parts)) return false;
    }
    const given = v.lines(name);
    return p.none.length === 0 || given.length === 0 || !v.linesMeet(name, none);
  };
}

const httpOnly = (key: string): boolean =>
  key.startsWith('request.') || key.startsWith('experimental.') || key === 'remote.ip';

const usesHttp = (r: wire.L7AccessRule): boolean =>
  r.to.some((o) => !isEmpty(o.hosts) || !isEmpty(o.methods) || !isEmpty(o.paths)) ||
  r.from.some((s) => !isEmpty(s.requestPrincipals) || !isEmpty(s.remoteIpBlocks)) ||
  r.when.some((w) => httpOnly(w.key));

/** Without what only HTTP can tell; for DENY on opaque connections. */
function withoutHttp(r: wire.L7AccessRule): wire.L7AccessRule {
  return {
    ...r,
    from: r.from.map((s) => ({ ...s, requestPrincipals: null, remoteIpBlocks: null })),
    to: r.to.map((o) => ({ ...o, hosts: null, methods: null, paths: null })),
    when: r.when.filter((w) => !httpOnly(w.key)),
  };
}

function ruleTest(r: wire.L7AccessRule, faults: Faults, deny: boolean): Test {
  const any = (tests: readonly Test[]): Test =>
    tests.length === 0 ? always : (v) => tests.some((t) => t(v));
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
  return (v) => (v.http ? full(v) : opaque(v));
}

interface Compiled {
  readonly key: string;
  readonly action: 'allow' | 'deny' | 'custom' | 'audit';
  readonly dryRun: boolean;
  readonly rules: readonly Test[];
}

const actions: Readonly<Record<number, Compiled['action']>> = {
  [L7PolicyAction.ALLOW]: 'allow',
  [L7PolicyAction.DENY]: 'deny',
  [L7PolicyAction.CUSTOM]: 'custom',
  [L7PolicyAction.AUDIT]: 'audit',
};

const noMarks: readonly Mark[] = [];

function marker(all: readonly Compiled[]): (v: AccessView) => readonly Mark[] {
  const quiet = all.filter((p) => p.dryRun || p.action === 'audit');
  if (quiet.length === 0) return () => noMarks;
  const as = (p: Compiled): Mark['as'] =>
    p.action === 'audit' ? 'audit' : p.action === 'allow' ? 'dry-run-allow' : 'dry-run-deny';
  return (v) =>
    quiet.filter((p) => p.rules.some((test) => test(v))).map((p) => ({ policy: p.key, as: as(p) }));
}

export function compileAccess(
  policies: readonly wire.L7AccessPolicy[],
  faults: Faults,
): CompiledAccess {
  const all = policies.map((p): Compiled => {
    const action = actions[p.action];
    if (!action) faults.add(`policy ${p.key}: action ${p.action} is not known`);
    const rules = p.rules.map((r) => compileRule(r, action !== 'allow', faults));
    const dryRun = p.dryRun && action !== 'custom' && action !== 'audit';
    return { key: p.key, action: action ?? 'deny', dryRun, rules };
  });
  const enforced = all.filter((p) => !p.dryRun && p.action !== 'audit');
  const denies = enforced.filter((p) => p.action === 'deny');
  const allows = enforced.filter((p) => p.action === 'allow');
  const mark = marker(all);
  const bySni = policies.some((p) =>
    p.rules.some((r) => r.when.some((w) => w.key === 'connection.sni')),
  );
  return {
    bySni,
    judge(f) {
      const v = new AccessView(f);
      const marks = mark(v);
      for (const p of denies) {
        const rule = p.rules.findIndex((test) => test(v));
        if (rule >= 0) return { allow: false, by: p.key, rule, marks };
      }
      if (allows.length === 0) return { allow: true, marks };
      const by = allows.find((p) => p.rules.some((test) => test(v)))?.key;
      return by === undefined ? { allow: false, marks } : { allow: true, by, marks };
    },
  };
}
