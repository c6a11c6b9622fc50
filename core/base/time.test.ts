// clock, backoff, debounce, random: time and chance as arguments.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { backoffDelay } from './backoff.ts';
import { FakeClock } from './clock.ts';
import { type DebounceState, debounceEvent, debounceWait } from './debounce.ts';
import { seededRandom, weightedPick } from './random.ts';

describe('FakeClock', () => {
  test('timers run in order of time, then of making', () => {
    const clock = new FakeClock();
    const seen: string[] = [];
    clock.after(20, () => seen.push('c'));
    clock.after(10, () => seen.push('a'));
    clock.after(10, () => seen.push('b'));
    clock.advance(15);
    assert.deepEqual(seen, ['a', 'b']);
    clock.advance(5);
    assert.deepEqual(seen, ['a', 'b', 'c']);
    assert.equal(clock.waiting, 0);
  });

  test('a timer made by a timer runs in the same advance if it falls due', () => {
    const clock = new FakeClock();
    const at: number[] = [];
    clock.after(10, () => clock.after(10, () => at.push(clock.monotonic())));
    clock.advance(30);
    assert.deepEqual(at, [20]);
  });

  test('cancel is idempotent, and a jump moves the wall alone (F11)', () => {
    const clock = new FakeClock(1000);
    const timer = clock.after(10, () => assert.fail('cancelled'));
    timer.cancel();
    timer.cancel();
    clock.jump(3_600_000);
    assert.equal(clock.now(), 3_601_000);
    assert.equal(clock.monotonic(), 0);
    clock.advance(100);
    assert.equal(clock.monotonic(), 100);
  });
});

describe('back-off', () => {
  test('doubles up to the cap, jittered within its share', () => {
    const plan = { firstMs: 20, capMs: 15_000, jitter: 0.2 };
    fc.assert(
      fc.property(fc.nat(2000), fc.nat(), (attempt, seed) => {
        const base = Math.min(plan.capMs, plan.firstMs * 2 ** Math.min(attempt, 40));
        const delay = backoffDelay(plan, attempt, seededRandom(seed));
        assert.ok(delay >= base * 0.8 && delay <= base * 1.2);
      }),
    );
  });
});

describe('debounce', () => {
  const plan = { quietMs: 100, maxMs: 1000 };
  test('fires after quiet, and never later than the longest wait after the first', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(150), { minLength: 1, maxLength: 40 }), (gaps) => {
        let state: DebounceState | undefined;
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          state = debounceEvent(state, now);
          const fire = now + debounceWait(plan, state, now);
          assert.ok(fire <= Math.max(now, state.firstMs + plan.maxMs));
          assert.ok(fire >= now && fire <= now + plan.quietMs);
          if (fire === now) state = undefined;
        }
      }),
    );
  });
});

describe('chance', () => {
  test('seeded numbers repeat and lie in [0, 1)', () => {
    const [a, b] = [seededRandom(1), seededRandom(1)];
    for (let i = 0; i < 1000; i++) {
      const x = a.next();
      assert.equal(x, b.next());
      assert.ok(x >= 0 && x < 1);
    }
  });

  test('weights: zero and negative are never chosen; nothing positive chooses nothing', () => {
    const items = fc.array(fc.integer({ min: -2, max: 5 }), { maxLength: 8 });
    fc.assert(
      fc.property(items, fc.nat(), (weights, seed) => {
        const hit = weightedPick(weights, (w) => w, seededRandom(seed));
        if (weights.some((w) => w > 0)) assert.ok(hit !== undefined && hit > 0);
        else assert.equal(hit, undefined);
      }),
    );
  });

  test('weights are honoured', () => {
    const random = seededRandom(3);
    const counts = new Map<string, number>();
    for (let i = 0; i < 8000; i++) {
      const hit = weightedPick(['a', 'b'], (x) => (x === 'a' ? 1 : 3), random) ?? '';
      counts.set(hit, (counts.get(hit) ?? 0) + 1);
    }
    const share = (counts.get('b') ?? 0) / 8000;
    assert.ok(share > 0.72 && share < 0.78);
  });

  test('rounding at the upper end still chooses', () => {
    assert.equal(
      weightedPick([1, 0], (w) => w, { next: () => 1 - 2 ** -53 }),
      1,
    );
  });
});
