import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../core/base/index.ts';
import { RateLimit } from './rate-limit.ts';

const taken = (limit: RateLimit, caller: string, tries: number): number =>
  Array.from({ length: tries }, () => limit.take(caller)).filter((x) => x).length;

describe('F48 issuance rate limit', () => {
  test('a burst, then a rate; callers do not share', () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ perSecond: 10, burst: 100 }, clock);
    assert.equal(taken(limit, 'a', 150), 100);
    assert.equal(taken(limit, 'b', 1), 1);
    clock.advance(500);
    assert.equal(taken(limit, 'a', 50), 5);
    clock.advance(3_600_000);
    assert.equal(taken(limit, 'a', 500), 100, 'never more than the burst');
  });

  test('callers remembered are bounded', () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ perSecond: 1, burst: 1 }, clock);
    for (let i = 0; i < 10_001; i++) limit.take(`c${i}`);
    assert.equal(limit.take('c0'), true, 'the oldest is forgotten');
    assert.equal(limit.take('c10000'), false);
  });
});
