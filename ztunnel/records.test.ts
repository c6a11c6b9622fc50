import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ring } from './records.ts';

test('the ring keeps the newest and gives them newest first', () => {
  const ring = new Ring<number>(3);
  assert.deepEqual(ring.recent(), []);
  for (let i = 1; i <= 5; i++) ring.push(i);
  assert.deepEqual(ring.recent(), [5, 4, 3]);
});
