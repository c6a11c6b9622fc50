// Replacing by a regular expression as RE2's GlobalReplace does (waypoint-l7.md 5.5, uriRegexRewrite).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { regexRewrite } from './regex-rewrite.ts';

const raw = String.raw;
const rows: readonly (readonly [
  pattern: string,
  substitution: string,
  text: string,
  wanted: string,
])[] = [
  ['/old', '/new', '/old/old/x', '/new/new/x'],
  ['^/old', '/new', '/old/old', '/new/old'],
  ['/service/([^/]+)(/.*)$', raw`\2/instance/\1`, '/service/foo/v1/api', '/v1/api/instance/foo'],
  ['/one', '/two', '/xxx/one/yyy/one/zzz', '/xxx/two/yyy/two/zzz'],
  ['^(.*?)one(.*)$', raw`\1two\2`, '/xxx/one/yyy/one/zzz', '/xxx/two/yyy/one/zzz'],
  ['(?i)/xxx/', '/yyy/', '/aaa/XxX/bbb', '/aaa/yyy/bbb'],
  ['(a|ab)(c|bcd)?', raw`[\1,\2]`, 'abcd', '[a,bcd]'],
  ['a*', 'x', 'aab', 'xbx'],
  ['a*?', 'x', 'aa', 'xaxax'],
  ['', '-', 'ab', '-a-b-'],
  ['(x)?', raw`<\1>`, 'x', '<x>'],
  ['none', 'x', '/a', '/a'],
  ['(a)|(b)', raw`\2\1`, 'ab', 'ab'],
  ['b', raw`\\\0\0`, 'abc', raw`a\bbc`],
  ['é', 'e', '/caféé', '/cafee'],
  ['/a{2}', '/b', '/aaa', '/ba'],
];

describe('every occurrence, leftmost first', () => {
  for (const [pattern, substitution, text, wanted] of rows) {
    test(`${pattern} by ${substitution} in ${text}: ${wanted}`, () => {
      const made = regexRewrite(pattern, substitution);
      assert.ok(typeof made === 'function', JSON.stringify(made));
      assert.equal(made(text), wanted);
    });
  }

  test('as the engine of the language finds it, wherever something is found', () => {
    const letter = fc.constantFrom('a', 'b', '[ab]', '.', '(?:a|bb)', '(?:ab|a)');
    const times = fc.constantFrom('', '*', '+', '?', '*?', '+?', '??', '{1,2}');
    const piece = fc.tuple(letter, times).map(([l, t]) => l + t);
    const group = fc.array(piece, { minLength: 1, maxLength: 3 }).map((p) => `(${p.join('')})`);
    // Begins with a letter, so that no occurrence is empty.
    const pattern = fc
      .tuple(letter, fc.array(fc.oneof(piece, group), { maxLength: 4 }), group)
      .map(([l, rest, g]) => l + rest.join('') + g);
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 });
    fc.assert(
      fc.property(pattern, text, (p, t) => {
        const made = regexRewrite(p, raw`<\0|\1>`);
        assert.ok(typeof made === 'function');
        assert.equal(made(t), t.replaceAll(new RegExp(p, 'g'), '<$&|$1>'));
      }),
      { numRuns: 500 },
    );
  });
});

describe('refused', () => {
  for (const [pattern, substitution] of [
    ['(', 'x'],
    [raw`(a)\1`, 'x'],
    ['a', raw`\1`],
    ['(a)', raw`\2`],
    ['a', raw`\n`],
    ['a', 'b\\'],
    ['a', 'b c'],
    ['a', 'b\r\nx: y'],
  ] as const) {
    test(`${pattern} by ${JSON.stringify(substitution)}`, () =>
      assert.equal(typeof regexRewrite(pattern, substitution), 'object'));
  }
});

test('L23 a rewrite that makes a text longer than any head is given up', () => {
  const text = 'a'.repeat(30_000);
  for (const [pattern, substitution] of [
    ['x*', 'y'.repeat(100_000)],
    ['.+', raw`\0`.repeat(100)],
    ['a', 'bcd'],
  ] as const) {
    const made = regexRewrite(pattern, substitution);
    assert.ok(typeof made === 'function');
    assert.equal(made(text), undefined);
  }
  const made = regexRewrite('a', 'bc');
  assert.ok(typeof made === 'function');
  assert.equal(made(text), 'bc'.repeat(30_000));
});

test('of many groups the first nine can be named', () => {
  const made = regexRewrite(`${'(.)'.repeat(8)}((.))(.)`, raw`\9\1`);
  assert.ok(typeof made === 'function');
  assert.equal(made('12345678abc'), 'a1c');
});

test('L23 what explodes elsewhere is linear; what is not is given up, in bounded time', () => {
  const text = 'a'.repeat(5_000);
  const linear = regexRewrite('(a*)*b', 'x');
  assert.ok(typeof linear === 'function' && linear(text) === text);
  // Each occurrence is known to be one letter only at the end of the text.
  const square = regexRewrite('a*b|a', 'x');
  assert.ok(typeof square === 'function' && square(text) === undefined);
  assert.equal(square('aaab'.repeat(30)), 'x'.repeat(30));
});
