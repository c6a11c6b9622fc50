import assert from 'node:assert/strict';
import { test } from 'node:test';
import { L7Normalization } from '../../core/proto/index.ts';
import { normalisePath } from './path.ts';

const modes = ['AS_IT_IS', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const;

// waypoint-l7.md 6.7: what stands for a mode that is left out is the path as it came, or as in the mode before.
const rows: readonly (readonly [string, string?, string?, string?])[] = [
  ['/app/'],
  ['/app/../admin', '/admin'],
  ['/app//', '/app//', '/app/'],
  ['/app/%2f', '/app/%2f', '/app/%2f', '/app/'],
  ['/app%2f/', '/app%2f/', '/app%2f/', '/app/'],
  ['/xyz%30..//abc', '/xyz0..//abc', '/xyz0../abc'],
  ['/app/%2E./admin', '/admin'],
  [String.raw`/app\admin`, '/app/admin'],
  [String.raw`/app/\/\/\admin`, '/app//////admin', '/app/admin'],
  ['/%2Fapp%5cadmin%5Cabc', '/%2Fapp%5cadmin%5Cabc', '/%2Fapp%5cadmin%5Cabc', '/app/admin/abc'],
  [
    String.raw`/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`,
    '/%5Capp%2f%5c%2F..%2fadmin%5c/abc',
    '/%5Capp%2f%5c%2F..%2fadmin%5c/abc',
    '/app/admin/abc',
  ],
  ['/app//../admin', '/app/admin'],
  ['/app//../../admin', '/admin'],
  ['/%c0%2fadmin', '/%c0%2fadmin', '/%c0%2fadmin', '/%c0/admin'],
  ['/%c0%2e%c0%2e/admin', '/%c0.%c0./admin'],
  ['/..', '/'],
  ['/a/.', '/a/'],
  ['/...'],
  ['/%252e%252e/admin'],
  ['/%c0%ae%c0%ae/admin'],
  ['/a;x=1/B'],
];

for (const [given, base = given, merged = base, decoded = merged] of rows) {
  for (const [i, wanted] of [given, base, merged, decoded].entries()) {
    const mode = modes[i] ?? 'BASE';
    test(`L9 ${mode} ${given} → ${wanted}`, () =>
      assert.equal(normalisePath(given, L7Normalization[mode])?.path, wanted));
  }
}

test('L9 what is made once is not made again: every mode but NONE is final', () => {
  for (const [given] of rows) {
    for (const mode of modes) {
      const path = normalisePath(given, L7Normalization[mode])?.path ?? '';
      assert.equal(normalisePath(path, L7Normalization[mode])?.path, path, `${mode} ${given}`);
    }
  }
});

test('the query is untouched, a fragment is cut, NUL and relative targets are refused', () => {
  for (const mode of modes) {
    const m = L7Normalization[mode];
    assert.deepEqual(normalisePath('/b?x=/../%2e//#f', m), { path: '/b', query: '?x=/../%2e//' });
    assert.equal(normalisePath('/app#foo', m)?.path, '/app');
    assert.equal(normalisePath('/a%00', m), undefined);
    assert.equal(normalisePath('a', m), undefined);
  }
});
