// RBAC: which policies apply, order, structure, fields (ztunnel-protocol.md 5.1–5.4), vectors 16.3, and the
// checklist's P rows. Every row is asked of the plain evaluator and of the index.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseIpBytes } from '../base/index.ts';
import {
  authorize,
  type Identity,
  type Match,
  matchPolicy,
  MeshState,
  type Policy,
  parseSpiffeId,
  printIdentity,
  type RbacConnection,
  type Rule,
  type StringMatch,
  type Verdict,
  type Workload,
  type Stage,
} from './index.ts';
import { anyPolicy, cidr, exact, keys, match, not, only, policy, workload } from './testkit.ts';

const address = (text: string): Uint8Array => parseIpBytes(text) ?? new Uint8Array(4);

function connection(
  identity: Identity | undefined,
  source: string,
  target: string,
): RbacConnection {
  const [ip = '', port = ''] = target.split(':');
  return {
    ...(identity && { principal: printIdentity(identity), identity }),
    sourceIp: address(source),
    destinationIp: address(ip),
    destinationPort: Number(port),
  };
}

const P = connection(undefined, '127.0.0.1', '127.0.0.2:8080');
const T = connection(
  { trustDomain: 'td', namespace: 'namespace', serviceAccount: 'account' },
  '127.0.0.1',
  '127.0.0.2:8080',
);
// Its account holds a character that a real identity cannot have: it is only a text here.
const A = connection(
  { trustDomain: 'td-alt', namespace: 'ns-alt', serviceAccount: 'sa=alt' },
  '127.0.0.3',
  '127.0.0.4:9090',
);
const T2 = {
  ...T,
  identity: { trustDomain: 'other', namespace: 'namespace', serviceAccount: 'account' },
};

const w = workload('ns/w', ['127.0.0.2']);

/** Asks both evaluators, and insists that they agree. */
function judge(policies: readonly Policy[], c: RbacConnection, on: Workload = w): Verdict {
  const mesh = new MeshState();
  mesh.apply({ workloads: [on], policies });
  const plain = authorize(mesh.policiesFor(on), c);
  assert.deepEqual(mesh.judge(on, c), plain, 'the index');
  return plain;
}

const hits = (rules: readonly Rule[], c: RbacConnection): boolean => {
  const p = policy('ns/p', { action: 'Deny', rules });
  const is = matchPolicy(p, c);
  assert.equal(!judge([p], c).allow, is);
  return is;
};
const one = (m: Partial<Match>): Rule[] => [[[match(m)]]];

describe('16.3 RBAC vectors', () => {
  const account = { namespace: 'namespace', serviceAccount: 'account' };
  const rows: readonly [string, Partial<Match>, string][] = [
    ['namespaces exact', { namespaces: only(exact('namespace')) }, 'no yes no'],
    ['not_namespaces exact', { namespaces: not(exact('namespace')) }, 'yes no yes'],
    ['service_accounts', { serviceAccounts: only(account) }, 'no yes no'],
    ['not_service_accounts', { serviceAccounts: not(account) }, 'yes no yes'],
    ['principals exact', { principals: only(exact('td/ns/namespace/sa/account')) }, 'no yes no'],
    [
      'not_principals exact',
      { principals: not(exact('td/ns/namespace/sa/account')) },
      'yes no yes',
    ],
    [
      'not_principals presence',
      { principals: not<StringMatch>({ kind: 'presence' }) },
      'yes no no',
    ],
    ['source_ips 127.0.0.1/32', { sourceIps: only(cidr('127.0.0.1/32')) }, 'yes yes no'],
    ['destination_ips 127.0.0.1/24', { destinationIps: only(cidr('127.0.0.1/24')) }, 'yes yes yes'],
    ['destination_ports 8080', { destinationPorts: only(8080) }, 'yes yes no'],
    ['not_destination_ports 8080', { destinationPorts: not(8080) }, 'no no yes'],
  ];
  for (const [what, m, want] of rows) {
    test(`${what}: ${want}`, () => {
      assert.equal([P, T, A].map((c) => (hits(one(m), c) ? 'yes' : 'no')).join(' '), want);
    });
  }

  const shapes: readonly [string, Rule[], boolean][] = [
    ['5.3 P1 [[[{}]]] an empty match', [[[match({})]]], false],
    ['5.3 P1 [[[]]] a clause without matches', [[[]]], true],
    ['5.3 P1 [[]] a rule without clauses', [[]], true],
    ['5.3 P1 [] no rules', [], false],
    [
      '5.3 an empty match beside a real one is skipped',
      [[[match({}), match({ destinationPorts: only(8080) })]]],
      true,
    ],
    [
      '5.3 an empty match beside one that fails',
      [[[match({}), match({ destinationPorts: only(1) })]]],
      false,
    ],
    [
      '5.3 a clause of empty matches kills its rule',
      [[[match({ destinationPorts: only(8080) })], [match({})]]],
      false,
    ],
  ];
  for (const [what, rules, want] of shapes) test(what, () => assert.equal(hits(rules, T), want));

  test('5.3 nesting: clauses are AND-ed, matches OR-ed', () => {
    const rules: Rule[] = [
      [
        [match({ namespaces: only(exact('a')) }), match({ namespaces: only(exact('b')) })],
        [match({ destinationPorts: only(80) })],
      ],
    ];
    const at = (namespace: string, port: number): boolean =>
      hits(
        rules,
        connection(
          { trustDomain: 'td', namespace, serviceAccount: 'x' },
          '127.0.0.1',
          `127.0.0.2:${port}`,
        ),
      );
    assert.deepEqual(
      [at('a', 80), at('b', 80), at('c', 80), at('b', 12_345)],
      [true, true, false, false],
    );
  });

  test('5.3 two rules are OR-ed', () => {
    const rules = [
      ...one({ namespaces: only(exact('a')) }),
      ...one({ namespaces: only(exact('b')) }),
    ];
    const at = (namespace: string): boolean =>
      hits(
        rules,
        connection(
          { trustDomain: 'td', namespace, serviceAccount: 'x' },
          '127.0.0.1',
          '127.0.0.2:80',
        ),
      );
    assert.deepEqual(['a', 'b', 'c'].map(at), [true, true, false]);
  });

  test('5.3 fields of one match are AND-ed, values of one field OR-ed, a positive and a negated list both hold', () => {
    assert.ok(
      hits(
        one({ namespaces: only(exact('x'), exact('namespace')), destinationPorts: only(8080) }),
        T,
      ),
    );
    assert.ok(!hits(one({ namespaces: only(exact('namespace')), destinationPorts: only(1) }), T));
    assert.ok(!hits(one({ destinationPorts: { any: [8080], none: [8080] } }), T));
  });
});

describe('5.4 fields', () => {
  const presence: StringMatch = { kind: 'presence' };
  const prefix = (text: string): StringMatch => ({ kind: 'prefix', text });
  const suffix = (text: string): StringMatch => ({ kind: 'suffix', text });
  const rows: readonly [string, Partial<Match>, RbacConnection, boolean][] = [
    ['P3 plaintext: namespaces presence', { namespaces: only(presence) }, P, false],
    ['P3 plaintext: namespaces exact ""', { namespaces: only(exact('')) }, P, true],
    ['P3 plaintext: namespaces prefix ""', { namespaces: only(prefix('')) }, P, true],
    ['P3 plaintext: principals presence', { principals: only(presence) }, P, false],
    ['P3 plaintext: principals prefix ""', { principals: only(prefix('')) }, P, false],
    ['P3 plaintext: principals exact ""', { principals: only(exact('')) }, P, false],
    ['P3 plaintext: not_principals exact', { principals: not(exact('x')) }, P, true],
    ['P3 plaintext: not_namespaces', { namespaces: not(exact('x')) }, P, true],
    [
      'P3 plaintext: not_service_accounts',
      { serviceAccounts: not({ namespace: 'a', serviceAccount: 'b' }) },
      P,
      true,
    ],
    ['principals see the id without spiffe://', { principals: only(prefix('td/')) }, T, true],
    [
      '… so a prefix with the scheme does not match',
      { principals: only(prefix('spiffe://')) },
      T,
      false,
    ],
    ['suffix', { principals: only(suffix('/sa/account')) }, T, true],
    ['presence with identity', { principals: only(presence) }, T, true],
    [
      'service accounts ignore the trust domain',
      { serviceAccounts: only({ namespace: 'namespace', serviceAccount: 'account' }) },
      T2,
      true,
    ],
    ['P2 a dot is a dot', { namespaces: only(exact('n.mespace')) }, T, false],
    ['P2 a star inside is a star', { namespaces: only(exact('name*ace')) }, T, false],
    ['P2 brackets are brackets', { namespaces: only(prefix('[n]')) }, T, false],
    ['P5 an IPv6 block does not hold an IPv4 address', { sourceIps: only(cidr('::/0')) }, T, false],
    [
      'P5 a mapped block is the IPv4 block',
      { sourceIps: only(cidr('::ffff:127.0.0.0/104')) },
      T,
      true,
    ],
  ];
  for (const [what, m, c, want] of rows) test(what, () => assert.equal(hits(one(m), c), want));

  test('S17 an id of another form matches raw principals only', () => {
    const principal = parseSpiffeId('spiffe://td/robot');
    assert.ok(principal);
    const robot: RbacConnection = { ...P, principal };
    assert.ok(hits(one({ principals: only(exact('td/robot')) }), robot));
    assert.ok(hits(one({ principals: only({ kind: 'presence' }) }), robot));
    assert.ok(!hits(one({ namespaces: only({ kind: 'presence' }) }), robot));
    assert.ok(hits(one({ serviceAccounts: not({ namespace: 'a', serviceAccount: 'b' }) }), robot));
  });
});

describe('5.1 which policies apply', () => {
  const all: Rule[] = [[]];
  const deny = (key: string, scope: Policy['scope']) =>
    policy(key, { scope, action: 'Deny', rules: all });
  const rows: readonly [string, Policy, Workload, boolean][] = [
    ['NAMESPACE of the workload’s namespace', deny('ns/p', 'Namespace'), w, true],
    ['NAMESPACE of another', deny('other/p', 'Namespace'), w, false],
    ['GLOBAL', deny('root/p', 'Global'), w, true],
    ['WORKLOAD_SELECTOR that it does not name', deny('ns/p', 'WorkloadSelector'), w, false],
    [
      'WORKLOAD_SELECTOR that it names',
      deny('ns/p', 'WorkloadSelector'),
      { ...w, authorizationPolicies: keys('ns/p') },
      true,
    ],
    [
      'WORKLOAD_SELECTOR of the root namespace',
      deny('root/p', 'WorkloadSelector'),
      { ...w, authorizationPolicies: keys('root/p') },
      true,
    ],
    [
      'a named policy applies whatever its scope',
      deny('other/p', 'Namespace'),
      { ...w, authorizationPolicies: keys('other/p') },
      true,
    ],
    ['NAMESPACE without a namespace acts like GLOBAL', deny('/p', 'Namespace'), w, true],
  ];
  for (const [what, p, on, applies] of rows) {
    test(what, () => assert.equal(!judge([p], T, on).allow, applies));
  }

  test('no window: a named policy that is missing refuses until it arrives', () => {
    const on = { ...w, authorizationPolicies: keys('ns/p') };
    assert.deepEqual(judge([], T, on), {
      allow: false,
      code: 'POLICY_PENDING',
      by: 'ns/p',
      dryRun: [],
    });
    assert.equal(
      judge([policy('ns/p', { scope: 'WorkloadSelector', rules: all })], T, on).allow,
      true,
    );
  });
});

describe('5.2 order (Z44)', () => {
  const all: Rule[] = [[]];
  const never: Rule[] = one({ destinationPorts: only(1) });
  const allow = (n: string, rules: Rule[], more = {}) => policy(`ns/${n}`, { rules, ...more });
  const deny = (n: string, rules: Rule[], more = {}) =>
    policy(`ns/${n}`, { action: 'Deny', rules, ...more });
  const dryRun = { dryRun: true };
  const rows: readonly [string, Policy[], Partial<Verdict> & { code?: string }][] = [
    ['no policy', [], { allow: true }],
    ['a matching deny', [allow('a', all), deny('d', all)], { allow: false, code: 'POLICY_DENIED' }],
    ['a deny that does not match, no allow', [deny('d', never)], { allow: true }],
    ['a matching allow', [allow('a', never), allow('b', all)], { allow: true }],
    ['allows, none matches', [allow('a', never)], { allow: false, code: 'POLICY_NOT_ALLOWED' }],
    [
      'P1 an allow without rules allows nothing',
      [allow('a', [])],
      { allow: false, code: 'POLICY_NOT_ALLOWED' },
    ],
    ['P1 a deny without rules denies nothing', [deny('d', [])], { allow: true }],
    ['a dry-run deny only tells', [deny('d', all, dryRun)], { allow: true, dryRun: keys('ns/d') }],
    [
      'a dry-run allow does not count as an allow policy',
      [allow('a', never, dryRun)],
      { allow: true },
    ],
    [
      'a dry-run allow does not allow',
      [allow('a', all, dryRun), allow('b', never)],
      { allow: false, code: 'POLICY_NOT_ALLOWED', dryRun: keys('ns/a') },
    ],
  ];
  for (const [what, policies, want] of rows) {
    test(what, () => {
      const verdict = judge(policies, T);
      assert.deepEqual({ ...verdict, ...want }, verdict);
    });
  }

  test('a deny decides before a missing policy does, an allow does not', () => {
    const on = { ...w, authorizationPolicies: keys('ns/missing') };
    const code = (ps: Policy[]) => {
      const v = judge(ps, T, on);
      return v.allow ? 'allow' : v.code;
    };
    assert.equal(code([deny('d', all)]), 'POLICY_DENIED');
    assert.equal(code([allow('a', all)]), 'POLICY_PENDING');
  });

  test('of several that decide, the smallest name is told, whatever order they came in', () => {
    const many = ['c', 'a', 'b'].map((n) => deny(n, all));
    assert.equal(judge(many, T).by, 'ns/a');
    assert.equal(judge(many.toReversed(), T).by, 'ns/a');
  });
});

describe('the index', () => {
  const word = fc.constantFrom('a', 'b', 'ab', 'root');
  const identity = fc.record({
    trustDomain: fc.constant('td'),
    namespace: word,
    serviceAccount: word,
  });
  const anyConnection = fc
    .tuple(
      fc.option(identity),
      fc.constantFrom('10.1.2.3', '10.1.9.9', '10.9.9.9', '11.0.0.1', 'fd00::1'),
      fc.constantFrom('10.1.2.3', '11.0.0.1'),
      fc.constantFrom(80, 8080, 9090),
    )
    .map(
      ([who, from, to, port]): RbacConnection => ({
        ...(who && { identity: who, principal: printIdentity(who) }),
        sourceIp: address(from),
        destinationIp: address(to),
        destinationPort: port,
      }),
    );
  const step = fc.oneof(
    { weight: 4, arbitrary: anyPolicy.map((put) => ({ put })) },
    { weight: 1, arbitrary: anyPolicy.map((p) => ({ drop: p.key })) },
    { weight: 1, arbitrary: anyPolicy.map((prepare) => ({ prepare })) },
    { weight: 1, arbitrary: fc.nat(4).map((tidy) => ({ tidy })) },
  );
  const names = keys('root/p', 'root/q', 'a/p', 'b/r', 'a/s', '/p');

  test('it says what looking at every rule says, through every history', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 12 }),
        fc.subarray(names),
        fc.array(anyConnection, { minLength: 1, maxLength: 4 }),
        (steps, named, connections) => {
          const mesh = new MeshState();
          const on = workload('a/w', ['10.1.2.3'], { authorizationPolicies: named });
          mesh.apply({ workloads: [on] });
          let stage: Stage | undefined;
          for (const s of steps) {
            if ('put' in s) mesh.apply({ policies: [s.put] });
            else if ('drop' in s) mesh.apply({ removed: { policies: [s.drop] } });
            else if ('prepare' in s) {
              stage ??= mesh.stage();
              mesh.prepare(stage, { policy: s.prepare });
            } else {
              if (stage && s.tidy % 2 === 0) mesh.discard(stage);
              else if (stage) mesh.apply({ staged: stage });
              stage = undefined;
              mesh.tidy(s.tidy);
            }
            for (const c of connections) {
              assert.deepEqual(mesh.judge(on, c), authorize(mesh.policiesFor(on), c));
            }
          }
        },
      ),
      { numRuns: 400 },
    );
  });

  test('P6 a rule is looked at only if it can match', () => {
    const mesh = new MeshState();
    const many = Array.from({ length: 500 }, (_, i) =>
      policy(`ns/p${i}`, {
        action: 'Deny',
        rules: one({ principals: only(exact(`td/ns/n${i}/sa/s`)), destinationPorts: only(8080) }),
      }),
    );
    mesh.apply({ workloads: [w], policies: many });
    assert.equal(mesh.judge(w, T).allow, true);
    const hit = connection(
      { trustDomain: 'td', namespace: 'n77', serviceAccount: 's' },
      '127.0.0.1',
      '127.0.0.2:8080',
    );
    assert.equal(mesh.judge(w, hit).by, 'ns/p77');
    mesh.apply({ removed: { policies: keys('ns/p77') } });
    assert.equal(mesh.judge(w, hit).allow, true, 'at once, before it is unfiled');
    mesh.apply({ policies: [many[77] as Policy] });
    assert.equal(mesh.tidy(100), false);
    assert.equal(mesh.judge(w, hit).by, 'ns/p77', 'what came back is not unfiled');
  });
});
