import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bestHost, hostMatches, hostOf, intersectHosts } from './hostnames.ts';

const matches: readonly (readonly [string, string, boolean])[] = [
  ['', 'a.b', true],
  ['a.b', 'a.b', true],
  ['a.b', 'x.a.b', false],
  ['*.a.b', 'x.a.b', true],
  ['*.a.b', 'x.y.a.b', true],
  ['*.a.b', 'a.b', false],
  ['*.a.b', '.a.b', false],
  ['*.a.b', 'xa.b', false],
];
for (const [pattern, host, wanted] of matches) {
  test(`${JSON.stringify(pattern)} ${wanted ? 'takes' : 'does not take'} ${host}`, () =>
    assert.equal(hostMatches(pattern, host), wanted));
}

const both: readonly (readonly [string, string, string | undefined])[] = [
  ['', '', ''],
  ['', 'a.b', 'a.b'],
  ['*.b', '', '*.b'],
  ['a.b', 'a.b', 'a.b'],
  ['a.b', 'c.b', undefined],
  ['*.b', 'a.b', 'a.b'],
  ['a.b', '*.b', 'a.b'],
  ['b', '*.b', undefined],
  ['*.b', '*.a.b', '*.a.b'],
  ['*.a.b', '*.b', '*.a.b'],
  ['*.b', '*.b', '*.b'],
  ['*.a.b', '*.c.b', undefined],
];
for (const [a, b, wanted] of both) {
  test(`${JSON.stringify(a)} and ${JSON.stringify(b)} have ${JSON.stringify(wanted)} in common`, () =>
    assert.equal(intersectHosts(a, b), wanted));
}

test('exact before the longest wildcard, before any', () => {
  const all = ['', '*.b', '*.a.b', 'x.a.b'];
  const best = (host: string) => bestHost(all, host, (h) => h);
  assert.deepEqual(['x.a.b', 'y.a.b', 'y.b', 'y'].map(best), ['x.a.b', '*.a.b', '*.b', '']);
});

test('of an authority', () => {
  assert.deepEqual(['A.B:80', 'a.b.', 'a.b', ''].map(hostOf), ['a.b', 'a.b', 'a.b', '']);
});
