// Slow start: the part of its weight that an endpoint has, and the share of requests that comes of it (waypoint-l7.md 5.2).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../core/base/index.ts';
import { leastRequest, RoundRobin } from './balancers.ts';
import { SlowStart, warmth, type WarmupRules } from './slow-start.ts';

const rules: WarmupRules = { durationMs: 100_000, least: 0.1, aggression: 1 };

describe('warmth', () => {
  const rows: readonly (readonly [Partial<WarmupRules>, number, number])[] = [
    [{}, 0, 0.1],
    [{}, 5_000, 0.1],
    [{}, 25_000, 0.25],
    [{}, 99_000, 0.99],
    [{}, 100_000, 1],
    [{}, 1e12, 1],
    // The first second counts as one.
    [{ least: 0 }, 0, 0.01],
    [{ least: 0 }, 999, 0.01],
    [{ aggression: 2 }, 25_000, 0.5],
    [{ least: 0.9, aggression: 2 }, 25_000, 0.9],
    [{ durationMs: 500 }, 0, 1],
  ];
  for (const [more, elapsed, wanted] of rows) {
    test(`${JSON.stringify(more)} after ${elapsed} ms: ${wanted}`, () =>
      assert.equal(warmth({ ...rules, ...more }, elapsed), wanted));
  }
});

describe('slow start', () => {
  const hosts = (...names: string[]) => names.map((name) => ({ name, weight: 10 }));
  const weights = (s: SlowStart, now: number, ...names: string[]): number[] =>
    s.weighted(hosts(...names), rules, now).map((h) => Math.round(h.weight * 100) / 100);

  test('who is there from the start grows together; who comes later grows alone', () => {
    const s = new SlowStart();
    s.ready(['a', 'b'], 0);
    assert.deepEqual(weights(s, 50_000, 'a', 'b'), [5, 5]);
    s.ready(['a', 'b', 'c'], 100_000);
    assert.deepEqual(weights(s, 100_000, 'a', 'b', 'c'), [10, 10, 1]);
    assert.deepEqual(weights(s, 140_000, 'a', 'b', 'c'), [10, 10, 4]);
    const all = hosts('a', 'b', 'c');
    assert.equal(s.weighted(all, rules, 200_000), all, 'nothing is worked out any more');
  });

  test('one that was unready or gone begins anew', () => {
    const s = new SlowStart();
    s.ready(['a', 'b'], 0);
    s.ready(['a'], 200_000);
    s.ready(['a', 'b'], 300_000);
    assert.deepEqual(weights(s, 300_000, 'a', 'b'), [10, 1]);
  });

  const share = (pick: (hosts: readonly { name: string; weight: number }[]) => string): number => {
    const s = new SlowStart();
    s.ready(['a'], 0);
    s.ready(['a', 'b'], 1_000_000);
    let hits = 0;
    for (let i = 0; i < 1_100; i++) {
      if (pick(s.weighted(hosts('a', 'b'), rules, 1_000_000)) === 'b') hits++;
    }
    return hits;
  };
  test('a tenth of the weight is one request in eleven, by turn and by what runs', () => {
    const random = seededRandom(3);
    const turns = new RoundRobin();
    const byTurn = share((h) => turns.next(h, random)?.name ?? '');
    assert.ok(Math.abs(byTurn - 100) <= 1, `${byTurn}`);
    const byLoad = share((h) => leastRequest(h, () => 0, random)?.name ?? '');
    assert.ok(byLoad > 60 && byLoad < 140, `${byLoad}`);
  });
});
