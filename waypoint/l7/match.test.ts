// The first match in order of precedence, found without looking at all (waypoint-l7.md 3.2, 3.3, 5.5).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { RequestHead } from '../http/exchange.ts';
import { Faults } from './faults.ts';
import { compileEntry, Matcher, type Meter } from './match.ts';

const blank: wire.L7RouteMatch = {
  pathKind: L7PathKind.ANY,
  path: '',
  method: '',
  headers: [],
  query: [],
  grpc: false,
  withoutHeaders: [],
  ignoreCase: false,
  bySource: false,
  sources: [],
  sourceNamespace: '',
};
const value = (name: string, v: string, more: object = {}): wire.L7ValueMatch => ({
  name,
  value: v,
  regex: false,
  prefix: false,
  present: false,
  ...more,
});
const match = (more: Partial<wire.L7RouteMatch>): wire.L7RouteMatch => ({ ...blank, ...more });
const exact = (path: string) => match({ pathKind: L7PathKind.EXACT, path });
const prefix = (path: string) => match({ pathKind: L7PathKind.PREFIX, path });
const characters = (path: string) => match({ pathKind: L7PathKind.STRING_PREFIX, path });
const regex = (path: string) => match({ pathKind: L7PathKind.REGEX, path });

const head = (path: string, more: Partial<RequestHead> = {}): RequestHead => ({
  method: 'GET',
  path,
  query: '',
  authority: 'web',
  headers: [
    ['user-agent', 'curl'],
    ['x-forwarded-proto', 'http'],
  ],
  version: '1.1',
  hasBody: false,
  ...more,
});
const nobody = { uid: '', namespace: '' };

function build(matches: readonly wire.L7RouteMatch[]): Matcher<number> {
  const faults = new Faults();
  const m = new Matcher<number>();
  for (const [i, x] of matches.entries()) m.add(x, compileEntry(x, i, i, faults), faults);
  assert.deepEqual(faults.all, []);
  return m;
}

describe('one match', () => {
  const with1 = (headers: readonly [string, string][]): RequestHead => head('/', { headers });
  const rows: readonly (readonly [string, wire.L7RouteMatch, RequestHead, boolean])[] = [
    ['exact', exact('/two'), head('/two'), true],
    ['exact has no slash to spare', exact('/two'), head('/two/'), false],
    ['segments', prefix('/abc'), head('/abc/def'), true],
    ['segments, not characters', prefix('/abc'), head('/abcd'), false],
    ['characters', characters('/abc'), head('/abcd'), true],
    ['characters, other case', characters('/abc'), head('/ABCD'), false],
    ['ignoreUriCase', { ...characters('/abc'), ignoreCase: true }, head('/ABCD'), true],
    ['ignoreUriCase, exact', { ...exact('/Ab'), ignoreCase: true }, head('/aB'), true],
    ['regex over the whole path', regex('/a.c'), head('/abc'), true],
    ['regex over a part', regex('/a'), head('/abc'), false],
    ['header', match({ headers: [value('a', '1')] }), with1([['a', '1']]), true],
    [
      'header, second line',
      match({ headers: [value('a', '1')] }),
      with1([
        ['a', '0'],
        ['a', '1'],
      ]),
      true,
    ],
    [
      'header, prefix',
      match({ headers: [value('a', 'x', { prefix: true })] }),
      with1([['a', 'xy']]),
      true,
    ],
    [
      'header, present',
      match({ headers: [value('a', '', { present: true })] }),
      with1([['a', '']]),
      true,
    ],
    ['header, missing', match({ headers: [value('a', '', { present: true })] }), with1([]), false],
    ['withoutHeaders', match({ withoutHeaders: [value('a', '1')] }), with1([['a', '2']]), true],
    [
      'withoutHeaders, there',
      match({ withoutHeaders: [value('a', '1')] }),
      with1([['a', '1']]),
      false,
    ],
    ['query', match({ query: [value('q', 'a b')] }), head('/', { query: '?q=a+b&q=c' }), true],
    [
      'query, only the first counts',
      match({ query: [value('q', 'c')] }),
      head('/', { query: '?q=a&q=c' }),
      false,
    ],
    ['authority', match({ authority: value('', 'web') }), head('/'), true],
    ['scheme', match({ scheme: value('', 'https') }), head('/'), false],
    [
      'method',
      match({ methodMatch: value('', 'P', { prefix: true }) }),
      head('/', { method: 'POST' }),
      true,
    ],
    ['source namespace', match({ sourceNamespace: 'x' }), head('/'), false],
    ['source workload', match({ bySource: true, sources: ['u'] }), head('/'), false],
  ];
  for (const [name, m, h, wanted] of rows) {
    test(`${name}: ${wanted ? 'met' : 'not met'}`, () =>
      assert.equal(build([m]).find(h, nobody), wanted ? 0 : undefined));
  }
  test('who calls', () => {
    const m = build([match({ bySource: true, sources: ['u'], sourceNamespace: 'shop' })]);
    assert.equal(m.find(head('/'), { uid: 'u', namespace: 'shop' }), 0);
    assert.equal(m.find(head('/'), { uid: 'u', namespace: 'other' }), undefined);
  });
});

test('the index finds what looking at all would find', () => {
  const paths = ['', '/', '/a', '/a/b', '/ab', '/a/b/c'];
  const headers = fc.array(fc.tuple(fc.constantFrom('x', 'y'), fc.constantFrom('1', '2')), {
    maxLength: 2,
  });
  const one = fc.record({
    pathKind: fc.constantFrom(0, 1, 2, 3, 4),
    path: fc.constantFrom(...paths),
    headers: headers.map((h) => h.map(([n, v]) => value(n, v))),
    ignoreCase: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(one, { maxLength: 12 }),
      fc.constantFrom(...paths),
      headers,
      (all, path, has) => {
        const matches = all.map((m) =>
          match({ ...m, path: m.pathKind === 2 && m.path === '/' ? '' : m.path }),
        );
        const h = head(path || '/', { headers: has });
        const alone = matches.findIndex((m) => build([m]).find(h, nobody) === 0);
        assert.equal(build(matches).find(h, nobody), alone < 0 ? undefined : alone);
      },
    ),
    { seed: 11, numRuns: 400 },
  );
});

describe('1,000 routes cost no more than twice one, in entries judged and keys looked up', () => {
  const many = (make: (i: number) => wire.L7RouteMatch) =>
    Array.from({ length: 1_000 }, (_, i) => make(i));
  const steps = (matches: readonly wire.L7RouteMatch[], h: RequestHead): number => {
    const meter: Meter = { steps: 0 };
    assert.ok(build(matches).find(h, nobody, meter) !== undefined);
    return meter.steps;
  };
  const rows: readonly (readonly [string, (i: number) => wire.L7RouteMatch, RequestHead])[] = [
    ['exact paths', (i) => exact(`/svc/${i}`), head('/svc/999')],
    ['prefixes', (i) => prefix(`/svc/${i}`), head('/svc/999/x/y')],
    ['characters of one length', (i) => characters(`/svc/${1000 + i}`), head('/svc/1999zzz')],
    [
      'one prefix, told apart by a header',
      (i) => ({ ...prefix(''), headers: [value('x-tenant', String(i))] }),
      head('/', { headers: [['x-tenant', '999']] }),
    ],
    [
      'one prefix, told apart by a parameter',
      (i) => ({ ...prefix(''), query: [value('tenant', String(i))] }),
      head('/', { query: '?tenant=999' }),
    ],
  ];
  for (const [name, make, h] of rows) {
    test(name, () => {
      const all = many(make);
      const [one, thousand] = [steps(all.slice(-1), h), steps(all, h)];
      assert.ok(thousand <= 2 * one, `${thousand} against ${one}`);
    });
  }
});
