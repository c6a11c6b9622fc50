import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type LevelFilter, levelFor, logLevels, mergeLevels, printLevels } from './levels.ts';

const info: LevelFilter = { base: 'info', scopes: new Map() };

describe('log levels (12.4, 13.1)', () => {
  const good: readonly [string, string][] = [
    ['debug', 'debug'],
    ['off', 'off'],
    ['access=debug', 'access=debug,info'],
    ['access=debug,xds=off,warn', 'access=debug,xds=off,warn'],
    [' access=debug , warn ', 'access=debug,warn'],
    ['access=debug,access=error', 'access=error,info'],
    ['xds:stream=trace', 'xds:stream=trace,info'],
  ];
  for (const [text, want] of good) {
    test(`${JSON.stringify(text)} → ${want}`, () => {
      const merged = mergeLevels(info, text);
      assert.ok(merged);
      assert.equal(printLevels(merged), want);
    });
  }

  for (const text of ['', 'loud', '=debug', 'access=', 'access=loud', 'INFO', 'info,,debug']) {
    test(`${JSON.stringify(text)} is not understood`, () => {
      assert.equal(mergeLevels(info, text), undefined);
    });
  }

  test('a scope has its own level, its nearest parent’s, or the base', () => {
    const f = mergeLevels(info, 'xds=debug,xds:stream=error') as LevelFilter;
    assert.equal(levelFor(f, 'xds'), 'debug');
    assert.equal(levelFor(f, 'xds:stream'), 'error');
    assert.equal(levelFor(f, 'xds:stream:in'), 'error');
    assert.equal(levelFor(f, 'xds:other'), 'debug');
    assert.equal(levelFor(f, 'xdsx'), 'info');
  });

  test('what is printed is understood and means the same', () => {
    const level = fc.constantFrom(...logLevels);
    const scopes = fc.array(fc.tuple(fc.stringMatching(/^[a-z:]{1,6}$/), level), { maxLength: 4 });
    fc.assert(
      fc.property(level, scopes, (base, list) => {
        const f: LevelFilter = { base, scopes: new Map(list) };
        assert.deepEqual(mergeLevels(info, printLevels(f)), f);
      }),
    );
  });
});
