import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { linearRegex } from './regex.ts';

const rows: readonly (readonly [pattern: string, text: string, hit: boolean])[] = [
  ['abc', 'abc', true],
  ['abc', 'xabc', false],
  ['/v[0-9]+/.*', '/v12/x', true],
  ['/v[0-9]+/.*', '/v/x', false],
  ['(a|b)*c', 'ababc', true],
  ['(?:foo|bar)baz?', 'barba', true],
  ['a{2,3}', 'aa', true],
  ['a{2,3}', 'aaaa', false],
  ['a{2,}', 'aaaaaa', true],
  [String.raw`\d\d-\w+`, '12-ab_9', true],
  ['[^/]+', 'a/b', false],
  ['[a-c-]+', 'a-c', true],
  ['[]a]+', ']a', true],
  ['^a$', 'a', true],
  ['(?i)AbC', 'aBc', true],
  ['', '', true],
  ['', 'x', false],
  ['.', '\n', false],
  ['a.*?b', 'axxb', true],
  [String.raw`a\.b`, 'axb', false],
];

describe('regular expressions over the whole text', () => {
  for (const [pattern, text, hit] of rows) {
    test(`${pattern} on ${JSON.stringify(text)}: ${hit}`, () => {
      const made = linearRegex(pattern);
      assert.ok(typeof made === 'function');
      assert.equal(made(text), hit);
    });
  }

  for (const pattern of ['(?=a)', String.raw`(a)\1`, '(', 'a)', '[a', '*a', 'a{3,2}', '(?P<n>a)']) {
    test(`${pattern} is refused`, () => assert.equal(typeof linearRegex(pattern), 'object'));
  }

  test('L23 what makes backtracking engines explode stays linear', () => {
    const made = linearRegex('(a+)+b');
    assert.ok(typeof made === 'function');
    assert.equal(made('a'.repeat(5_000)), false);
  });
});
