// The compiled evaluator against a naive one that reads section 6 of waypoint-l7.md word by word, and what a request
// costs under many rules, in steps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import { type AccessFacts, compileAccess } from './access.ts';
import { Faults } from './faults.ts';

type Policy = Draft<wire.L7AccessPolicy>;
type Texts = Draft<wire.L7Texts> | null | undefined;

// --- naive

function matches(pattern: string, v: string): boolean {
  if (pattern === '*') return v !== '';
  if (pattern.startsWith('*')) return v.endsWith(pattern.slice(1));
  if (pattern.endsWith('*')) return v.startsWith(pattern.slice(0, -1));
  return v === pattern;
}
function meets(t: Texts, values: readonly string[], test = matches): boolean {
  const hit = (all: readonly string[]): boolean => all.some((p) => values.some((v) => test(p, v)));
  const { any = [], none = [] } = t ?? {};
  return (any.length === 0 || hit(any)) && (none.length === 0 || !hit(none));
}
const is = (a: string, b: string): boolean => a === b;

function ruleHolds(r: Draft<wire.L7AccessRule>, f: AccessFacts): boolean {
  const user = f.http?.user;
  const from = (r.from ?? []).map(
    (s) =>
      meets(s.principals, f.principal === undefined ? [] : [f.principal]) &&
      meets(s.namespaces, f.identity ? [f.identity.namespace] : [], is) &&
      meets(s.requestPrincipals, user ? [`${user.issuer}/${user.subject}`] : []),
  );
  const to = (r.to ?? []).map(
    (o) =>
      meets(o.methods, [f.http?.method ?? '']) &&
      meets(o.paths, [f.http?.path ?? '']) &&
      meets(o.ports, [String(f.destinationPort)], is),
  );
  const when = (r.when ?? []).map((w) => {
    const claim = user?.claims['g'];
    return meets(w.values, Array.isArray(claim) ? (claim as string[]) : []);
  });
  const any = (all: readonly boolean[]): boolean => all.length === 0 || all.includes(true);
  return any(from) && any(to) && !when.includes(false);
}
function naive(all: readonly Policy[], f: AccessFacts): boolean {
  const holds = (p: Policy): boolean => (p.rules ?? []).some((r) => ruleHolds(r, f));
  const of = (action: number): Policy[] => all.filter((p) => p.action === action && !p.dryRun);
  if (of(L7PolicyAction.DENY).some(holds)) return false;
  const allows = of(L7PolicyAction.ALLOW);
  return allows.length === 0 || allows.some(holds);
}

// --- few words, so that they meet often

const listOf = (...words: string[]) => fc.array(fc.constantFrom(...words), { maxLength: 3 });
const textsOf = (...words: string[]) =>
  fc.option(fc.record({ any: listOf(...words), none: listOf(...words) }), { nil: undefined });
const rule = fc.record({
  from: fc.array(
    fc.record({
      principals: textsOf('td/ns/a/sa/x', 'td/ns/a/*', '*/sa/y', '*'),
      namespaces: textsOf('a', 'b'),
      requestPrincipals: textsOf('i/s', 'i/*', '*/t', '*'),
    }),
    { maxLength: 2 },
  ),
  to: fc.array(
    fc.record({
      methods: textsOf('GET', 'P*'),
      paths: textsOf('/a', '/a/*', '*/c', '*'),
      ports: textsOf('80', '81'),
    }),
    { maxLength: 2 },
  ),
  when: fc.array(
    fc.record({
      key: fc.constant('request.auth.claims[g]'),
      values: fc.record({ any: listOf('p', 'q*'), none: listOf('p', 'q') }),
    }),
    { maxLength: 1 },
  ),
});
const policy = fc.record({
  key: fc.constant('n/p'),
  action: fc.constantFrom(L7PolicyAction.ALLOW, L7PolicyAction.DENY),
  dryRun: fc.boolean(),
  rules: fc.array(rule, { maxLength: 3 }),
});
const facts = fc
  .record({
    namespace: fc.constantFrom('a', 'b'),
    account: fc.constantFrom('x', 'y'),
    known: fc.boolean(),
    port: fc.constantFrom(80, 81),
    method: fc.constantFrom('GET', 'PUT', 'POST'),
    path: fc.constantFrom('/a', '/a/b', '/b/c', '/'),
    user: fc.option(
      fc.record({
        subject: fc.constantFrom('s', 't'),
        groups: fc.array(fc.constantFrom('p', 'q', 'qq'), { maxLength: 2 }),
      }),
      { nil: undefined },
    ),
  })
  .map(
    (x): AccessFacts => ({
      principal: x.known ? `td/ns/${x.namespace}/sa/${x.account}` : undefined,
      identity: x.known
        ? { trustDomain: 'td', namespace: x.namespace, serviceAccount: x.account }
        : undefined,
      sourceIp: '10.0.0.1',
      destinationIp: '10.0.0.2',
      destinationPort: x.port,
      http: {
        method: x.method,
        path: x.path,
        host: 'h',
        headers: [],
        user: x.user && {
          issuer: 'i',
          subject: x.user.subject,
          claims: { g: x.user.groups },
          spaceDelimited: new Set(),
        },
      },
    }),
  );

function compile(policies: readonly Policy[]) {
  const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', { policies });
  const faults = new Faults();
  const read = decode('ambientlite.waypoint.v1.ServiceConfig', bytes);
  return compileAccess(read.policies, faults);
}

test('P1 P3 the evaluator says what a naive one says', () => {
  fc.assert(
    fc.property(fc.array(policy, { maxLength: 4 }), facts, (all, f) => {
      assert.equal(compile(all).judge(f).allow, naive(all, f));
    }),
    { numRuns: 2_000 },
  );
});

test('P6 a thousand rules: each is looked at once, and only as far as it takes to say no', () => {
  let reads = 0;
  // Every look at the path or the principal counts.
  const http = {
    method: 'GET',
    host: 'h',
    headers: [],
    get path() {
      reads++;
      return '/none';
    },
  };
  const f: AccessFacts = {
    get principal() {
      reads++;
      return 'td/ns/a/sa/x';
    },
    identity: undefined,
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    destinationPort: 80,
    http,
  };
  const rules = Array.from({ length: 1_000 }, (_, i) => ({
    from: [{ principals: { any: ['td/ns/a/sa/x'] } }],
    to: [{ paths: { any: [`/p${i}`] } }],
  }));
  const deny = { key: 'n/p', action: L7PolicyAction.DENY, rules };
  assert.equal(compile([deny]).judge(f).allow, true);
  assert.equal(reads, 2_000);
});

test('P2 characters of regular expressions are literal, but for one star at an end', () => {
  const allows = (pattern: string, path: string): boolean =>
    compile([{ key: 'n/p', rules: [{ to: [{ paths: { any: [pattern] } }] }] }]).judge({
      principal: undefined,
      identity: undefined,
      sourceIp: '',
      destinationIp: '',
      destinationPort: 80,
      http: { method: 'GET', path, host: 'h', headers: [] },
    }).allow;
  assert.equal(allows('/a.b', '/axb'), false);
  assert.equal(allows('/a*b', '/axb'), false);
  assert.equal(allows('/a*b', '/a*b'), true);
  assert.equal(allows('/[a]+', '/a'), false);
  assert.equal(allows('/(a|b)*', '/(a|b)c'), true);
  assert.equal(allows('*x*', '/yx*'), true);
});
