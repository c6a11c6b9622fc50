import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalisePath } from './path.ts';

// waypoint-l7.md 6.7, mode BASE.
const rows: readonly (readonly [string, string])[] = [
  ['/app#foo', '/app'],
  ['/app/', '/app/'],
  ['/app/../admin', '/admin'],
  ['/app//', '/app//'],
  ['/app/%2f', '/app/%2f'],
  ['/app%2f/', '/app%2f/'],
  ['/xyz%30..//abc', '/xyz0..//abc'],
  ['/app/%2E./admin', '/admin'],
  [String.raw`/app\admin`, '/app/admin'],
  [String.raw`/app/\/\/\admin`, '/app//////admin'],
  ['/%2Fapp%5cadmin%5Cabc', '/%2Fapp%5cadmin%5Cabc'],
  [String.raw`/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`, '/%5Capp%2f%5c%2F..%2fadmin%5c/abc'],
  ['/app//../admin', '/app/admin'],
  ['/app//../../admin', '/admin'],
  ['/..', '/'],
  ['/a/.', '/a/'],
  ['/...', '/...'],
  ['/%252e%252e/admin', '/%252e%252e/admin'],
  ['/a;x=1/B', '/a;x=1/B'],
];

for (const [given, wanted] of rows) {
  test(`path ${given} → ${wanted}`, () => assert.equal(normalisePath(given)?.path, wanted));
}

test('the query is untouched, NUL and relative targets are refused', () => {
  assert.deepEqual(normalisePath('/a/../b?x=/../%2e#f'), { path: '/b', query: '?x=/../%2e' });
  assert.equal(normalisePath('/a%00'), undefined);
  assert.equal(normalisePath('a'), undefined);
});
