import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from './random.ts';
import { newTraceparent, traceIdOf } from './trace-context.ts';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const full = `00-${trace}-00f067aa0ba902b7-01`;

describe('trace context', () => {
  test('the trace id is read in lower case', () => {
    assert.equal(traceIdOf(full), trace);
    assert.equal(traceIdOf(full.toUpperCase()), trace);
  });

  const bad: readonly (string | undefined)[] = [
    undefined,
    '',
    trace,
    full.slice(1),
    `${full}0`,
    full.replaceAll('-', '_'),
    full.replace('4', 'g'),
    `00-${trace}-00f067aa0ba902b701-1`,
    full.replace('4b', '4é'),
  ];
  for (const text of bad) {
    test(`C11 ignored: ${JSON.stringify(text)}`, () => assert.equal(traceIdOf(text), undefined));
  }

  test('fresh ones are well-formed and differ', () => {
    const random = seededRandom(7);
    const ids = new Set(Array.from({ length: 100 }, () => traceIdOf(newTraceparent(random))));
    assert.equal(ids.size, 100);
    assert.ok(!ids.has(undefined));
  });
});
