// L7 authorization, row by row (waypoint-l7.md 6).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { encode, decode } from '../../core/rpc/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { type AccessFacts, compileAccess, type Judgement } from './access.ts';
import { Faults } from './faults.ts';
import { compileTemplate, maxSegments, segmented } from './path-template.ts';

type Rule = Draft<wire.L7AccessRule>;

const judge = (policies: readonly Draft<wire.L7AccessPolicy>[], facts: AccessFacts): boolean =>
  judged(policies, facts).allow;

function judged(policies: readonly Draft<wire.L7AccessPolicy>[], facts: AccessFacts): Judgement {
  const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', { policies });
  const faults = new Faults();
  const read = decode('ambientlite.waypoint.v1.ServiceConfig', bytes);
  const access = compileAccess(read.policies, faults);
  assert.deepEqual(faults.all, []);
  return access.judge(facts);
}

const policy = (action: number, ...rules: Rule[]): Draft<wire.L7AccessPolicy> => ({
  key: 'ns/p',
  action,
  rules,
});
const allow = (...rules: Rule[]) => policy(L7PolicyAction.ALLOW, ...rules);
const deny = (...rules: Rule[]) => policy(L7PolicyAction.DENY, ...rules);

const base: AccessFacts = {
  principal: 'td/ns/shop/sa/web',
  identity: { trustDomain: 'td', namespace: 'shop', serviceAccount: 'web' },
  sourceIp: '10.0.0.7',
  destinationIp: '10.1.0.1',
  destinationPort: 80,
  serverName: 'api.example.com',
  http: {
    method: 'GET',
    path: '/a/b',
    host: 'Api.example:80',
    headers: [
      ['x-t', 'a'],
      ['x-t', 'b,c'],
    ],
  },
};
const opaque: AccessFacts = { ...base, http: undefined as never };
const anonymous: AccessFacts = { ...base, principal: undefined, identity: undefined };
const op = (o: Draft<wire.L7AccessOperation>): Rule => ({ to: [o] });
const from = (s: Draft<wire.L7AccessSource>): Rule => ({ from: [s] });
const when = (key: string, any: string[], none: string[] = []): Rule => ({
  when: [{ key, values: { any, none } }],
});

describe('one ALLOW rule', () => {
  const rows: readonly (readonly [string, Rule, boolean])[] = [
    ['empty rule', {}, true],
    ['method', op({ methods: { any: ['GET'] } }), true],
    ['method is case-sensitive', op({ methods: { any: ['get'] } }), false],
    ['not method', op({ methods: { none: ['GET'] } }), false],
    ['path exact', op({ paths: { any: ['/a/b'] } }), true],
    ['path prefix', op({ paths: { any: ['/a/*'] } }), true],
    ['path suffix', op({ paths: { any: ['*/b'] } }), true],
    ['path template', op({ paths: { any: ['/{*}/b'] } }), true],
    ['host with its port, any case', op({ hosts: { any: ['api.example:80'] } }), true],
    ['host without the port the client sent', op({ hosts: { any: ['api.example'] } }), false],
    ['host prefix', op({ hosts: { any: ['api.example*'] } }), true],
    ['port', op({ ports: { any: ['80'] } }), true],
    ['other port', op({ ports: { any: ['81'] } }), false],
    ['fields are ANDed', op({ methods: { any: ['GET'] }, paths: { any: ['/x'] } }), false],
    ['principal', from({ principals: { any: ['td/ns/shop/sa/web'] } }), true],
    ['principal suffix', from({ principals: { any: ['*/sa/web'] } }), true],
    ['namespace wildcard inside', from({ namespaces: { any: ['s*p'] } }), true],
    ['service account', from({ serviceAccounts: { any: ['shop/web'] } }), true],
    ['address block', from({ ipBlocks: { any: ['10.0.0.0/24'] } }), true],
    ['not this block', from({ ipBlocks: { none: ['10.0.0.0/24'] } }), false],
    ['end user, none known', from({ requestPrincipals: { any: ['*'] } }), false],
    ['L12 header: one line of two is not enough', when('request.headers[X-T]', ['a']), false],
    ['L12 header: every line', when('request.headers[X-T]', ['a', 'b*']), true],
    ['header, absent', when('request.headers[x-no]', ['*']), false],
    ['header, one line denies', when('request.headers[x-t]', [], ['a']), false],
    ['source.namespace', when('source.namespace', ['shop']), true],
    ['destination.port', when('destination.port', ['80']), true],
    ['connection.sni', when('connection.sni', ['API.example.com']), true],
    ['connection.sni suffix', when('connection.sni', ['*.example.com']), true],
    ['another connection.sni', when('connection.sni', ['b.example.com']), false],
    ['not this connection.sni', when('connection.sni', [], ['*.example.com']), false],
    ['unreadable', { unreadable: true }, false],
  ];
  for (const [name, rule, wanted] of rows) {
    test(name, () => assert.equal(judge([allow(rule)], base), wanted));
  }
});

describe('connection.sni where there is none', () => {
  const none: AccessFacts = { ...base, serverName: '' };
  for (const [what, facts] of [
    ['in the hello', none],
    ['that anybody looked for', { ...none, serverName: undefined }],
  ] as const) {
    test(`${what}: positive values fail, negative ones succeed`, () => {
      assert.equal(judge([allow(when('connection.sni', ['*']))], facts), false);
      assert.equal(judge([allow(when('connection.sni', [], ['a']))], facts), true);
      assert.equal(judge([deny(when('connection.sni', ['*']))], facts), true);
    });
  }
  test('it is told that the name is needed', () => {
    const asks = (rules: Rule[]): boolean => {
      const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', { policies: [deny(...rules)] });
      const { policies } = decode('ambientlite.waypoint.v1.ServiceConfig', bytes);
      return compileAccess(policies, new Faults()).bySni;
    };
    assert.deepEqual([asks([when('connection.sni', ['a'])]), asks([{}])], [true, false]);
  });
});

describe('order and absence', () => {
  const get = op({ methods: { any: ['GET'] } });
  test('no policy allows', () => assert.equal(judge([], base), true));
  test('ALLOW without rules denies', () => assert.equal(judge([allow()], base), false));
  test('DENY without rules does nothing', () => assert.equal(judge([deny()], base), true));
  test('DENY beats ALLOW', () => assert.equal(judge([allow({}), deny(get)], base), false));
  test('an unreadable DENY rule denies on the rest', () =>
    assert.equal(judge([deny({ ...get, unreadable: true })], base), false));
  test('dry run never decides', () =>
    assert.equal(judge([{ ...deny({}), dryRun: true }], base), true));
  test('AUDIT and dry run: told where they match, whatever is decided', () => {
    const audit = (key: string, ...rules: Rule[]) => ({ key, action: L7PolicyAction.AUDIT, rules });
    const quiet = [
      audit('n/hit', get),
      audit('n/miss', op({ methods: { any: ['PUT'] } })),
      audit('n/none'),
      { ...deny(get), key: 'n/dry-deny', dryRun: true },
      { ...allow({}), key: 'n/dry-allow', dryRun: true },
    ];
    const marks = [
      { policy: 'n/hit', as: 'audit' },
      { policy: 'n/dry-deny', as: 'dry-run-deny' },
      { policy: 'n/dry-allow', as: 'dry-run-allow' },
    ];
    for (const [more, allowed] of [
      [[], true],
      [[deny(get)], false],
      [[allow(op({ methods: { any: ['PUT'] } }))], false],
      [[allow(get)], true],
    ] as const) {
      const verdict = judged([...quiet, ...more], base);
      assert.equal(verdict.allow, allowed);
      assert.deepEqual(verdict.marks, marks);
    }
    assert.deepEqual(judged(quiet, opaque).marks[0], marks[0], 'on the rest, as DENY');
  });
  test('P4 an action of a newer control plane is refused with its service', () => {
    const faults = new Faults();
    const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', { policies: [policy(9, {})] });
    const { policies } = decode('ambientlite.waypoint.v1.ServiceConfig', bytes);
    assert.equal(compileAccess(policies, faults).judge(base).allow, false);
    assert.match(faults.all.join(), /action 9 is not known/);
  });
  test('no identity: positive fails, negative succeeds', () => {
    assert.equal(judge([allow(from({ principals: { any: ['*'] } }))], anonymous), false);
    assert.equal(judge([allow(from({ principals: { none: ['td/*'] } }))], anonymous), true);
  });
  test('opaque: ALLOW on HTTP never matches, DENY holds on the rest', () => {
    assert.equal(judge([allow(get)], opaque), false);
    assert.equal(
      judge([deny({ ...get, ...from({ namespaces: { any: ['shop'] } }) })], opaque),
      false,
    );
    assert.equal(judge([deny({ ...get, ...from({ namespaces: { any: ['x'] } }) })], opaque), true);
  });
});

describe('path templates', () => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ['/foo/{*}/bar', '/foo/x/bar', true],
    ['/foo/{*}/bar', '/foo//bar', false],
    ['/foo/{*}', '/foo/a/b', false],
    ['/foo/{**}', '/foo/a/b', true],
    ['/foo/{**}', '/foo', false],
    ['/foo/{**}', '/foo/', true],
    ['/{**}/end', '/a/b/end', true],
    ['/{*}/x/{**}', '/a/x/y/z', true],
  ];
  for (const [pattern, path, wanted] of rows) {
    test(`${pattern} on ${path}`, () => {
      const made = compileTemplate(pattern);
      assert.ok(typeof made === 'function');
      assert.equal(made(segmented(path)), wanted);
    });
  }
  const long = '/a'.repeat(maxSegments + 1);
  for (const bad of ['/a{*}', '/{**}/{*}', '/{*}*', 'x', long]) {
    test(`${bad.slice(0, 20)} is refused`, () =>
      assert.equal(typeof compileTemplate(bad), 'object'));
  }
});
