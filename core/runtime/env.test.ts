// F41: all mistakes of the environment are told together, each by its name.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EnvReader, parseDuration } from './env.ts';

describe('durations', () => {
  const rows: readonly [string, number | undefined][] = [
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['250ms', 250],
    ['1.5s', 1500],
    ['0s', 0],
    ['', undefined],
    ['5', undefined],
    ['5d', undefined],
    ['-5s', undefined],
    ['5s ', undefined],
    ['s', undefined],
    ['1s2', undefined],
  ];
  for (const [text, ms] of rows) {
    test(`${JSON.stringify(text)} = ${ms}`, () => assert.equal(parseDuration(text), ms));
  }
});

describe('environment', () => {
  const read = (env: Record<string, string>) => {
    const r = new EnvReader(env);
    const value = {
      text: r.text('TEXT', 't', ''),
      port: r.integer('PORT', 80, '', { min: 0, max: 65_535 }),
      wait: r.duration('WAIT', 1000, ''),
      flag: r.flag('FLAG', false, ''),
      mode: r.choice('MODE', ['a', 'b'], 'a', ''),
      list: r.list('LIST', ['x'], ''),
      maybe: r.optional('MAYBE', ''),
    };
    return { r, result: r.result(value) };
  };

  test('nothing set, or set to nothing: the defaults', () => {
    const want = {
      text: 't',
      port: 80,
      wait: 1000,
      flag: false,
      mode: 'a',
      list: ['x'],
      maybe: undefined,
    };
    assert.deepEqual(read({}).result, { ok: true, value: want });
    const empty = { TEXT: '', PORT: '', WAIT: '', FLAG: '', MODE: '', LIST: '', MAYBE: '' };
    assert.deepEqual(read(empty).result, { ok: true, value: want });
  });

  test('everything set', () => {
    const { result } = read({
      TEXT: 'x',
      PORT: '0',
      WAIT: '2s',
      FLAG: 'T',
      MODE: 'b',
      LIST: ' a, ,b ',
      MAYBE: 'm',
    });
    assert.deepEqual(result, {
      ok: true,
      value: {
        text: 'x',
        port: 0,
        wait: 2000,
        flag: true,
        mode: 'b',
        list: ['a', 'b'],
        maybe: 'm',
      },
    });
  });

  const bad: readonly [string, string][] = [
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '8e1'],
    ['PORT', '80 '],
    ['WAIT', 'soon'],
    ['FLAG', 'yes'],
    ['MODE', 'c'],
    ['MODE', 'toString'],
  ];
  for (const [name, text] of bad) {
    test(`F41 ${name}=${text} is a fault of that name`, () => {
      const { result } = read({ [name]: text });
      assert.ok(!result.ok);
      assert.deepEqual(
        result.faults.map((f) => f.path),
        [name],
      );
    });
  }

  test('F41 all mistakes come together', () => {
    const { result } = read({ PORT: 'x', WAIT: 'x', FLAG: 'x', MODE: 'x' });
    assert.ok(!result.ok);
    assert.deepEqual(
      result.faults.map((f) => f.path),
      ['PORT', 'WAIT', 'FLAG', 'MODE'],
    );
  });

  test('what was asked for is known, in order', () => {
    assert.deepEqual(
      read({}).r.asked.map((v) => v.name),
      ['TEXT', 'PORT', 'WAIT', 'FLAG', 'MODE', 'LIST', 'MAYBE'],
    );
  });
});
