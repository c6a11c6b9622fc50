import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PairCache } from './pair-cache.ts';

test('one value for the same objects and text, another for any other', () => {
  const cache = new PairCache<object>();
  const [a, b] = [{}, {}];
  const made = (x: object | undefined, y: object | undefined, text: string): object =>
    cache.get(x, y, text, () => ({}));
  assert.equal(made(a, b, 'x'), made(a, b, 'x'));
  assert.equal(made(undefined, b, 'x'), made(undefined, b, 'x'));
  const all = [made(a, b, 'x'), made(b, a, 'x'), made(a, b, 'y'), made(a, undefined, 'x')];
  assert.equal(new Set(all).size, all.length);
});

test('texts of a pair are bounded', () => {
  const cache = new PairCache<number>(3);
  let made = 0;
  const get = (text: string): number => cache.get(undefined, undefined, text, () => ++made);
  for (let i = 0; i < 10; i++) get(`t${i}`);
  assert.equal(made, 10);
  get('t9');
  assert.equal(made, 10);
  get('t0');
  assert.equal(made, 11);
});
