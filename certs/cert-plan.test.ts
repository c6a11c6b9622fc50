// The certificate schedule without clock or network.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import { type CertAction, CertPlan, defaultCertPlan, type Instant } from './cert-plan.ts';

const id = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}` as SpiffeId;
const at = (monoMs: number): Instant => ({ wallMs: 1_000_000 + monoMs, monoMs });
const flat = {
  ...defaultCertPlan,
  renewJitter: 0,
  backoff: { ...defaultCertPlan.backoff, jitter: 0 },
};
const plan = () => new CertPlan(seededRandom(1), flat);
const fetches = (actions: CertAction[]): string[] =>
  actions.filter((a) => a.do === 'fetch').map((a) => a.id.slice(a.id.lastIndexOf('/') + 1));
const wake = (actions: CertAction[]): number | undefined =>
  actions.find((a) => a.do === 'wake')?.monoMs;
const day = 86_400_000;
const fetched = (name: string, monoMs: number, lifeMs = day) =>
  ({
    kind: 'fetched',
    id: id(name),
    notBeforeMs: at(monoMs).wallMs,
    notAfterMs: at(monoMs + lifeMs).wallMs,
  }) as const;
const failed = (name: string) => ({ kind: 'failed', id: id(name), reason: 'no' }) as const;
const want = (name: string, priority: 'real-time' | 'warm-up' | 'background' = 'real-time') =>
  ({ kind: 'want', id: id(name), priority }) as const;

test('Z30: callers of one identity share one fetch', () => {
  const p = plan();
  assert.deepEqual(fetches(p.step(want('a'), at(0))), ['a']);
  assert.deepEqual(fetches(p.step(want('a'), at(1))), []);
});

test('Z31 F48: at most 8 requests are in flight; the most urgent goes next', () => {
  const p = plan();
  for (let i = 0; i < 8; i++) p.step(want(`n${i}`, 'warm-up'), at(i));
  assert.deepEqual(fetches(p.step(want('bg', 'background'), at(10))), []);
  assert.deepEqual(fetches(p.step(want('warm', 'warm-up'), at(11))), []);
  assert.deepEqual(fetches(p.step(want('rt', 'real-time'), at(12))), []);
  assert.deepEqual(fetches(p.step(fetched('n0', 13), at(13))), ['rt']);
  assert.deepEqual(fetches(p.step(fetched('n1', 14), at(14))), ['warm']);
  assert.deepEqual(fetches(p.step(fetched('n2', 15), at(15))), ['bg']);
});

test('F10: renewal comes at half of the life', () => {
  const p = plan();
  p.step(want('a'), at(0));
  assert.equal(wake(p.step(fetched('a', 0), at(0))), day / 2);
  assert.deepEqual(fetches(p.step({ kind: 'tick' }, at(day / 2 - 1))), []);
  assert.deepEqual(fetches(p.step({ kind: 'tick' }, at(day / 2))), ['a']);
});

test('renewal times of many pods are spread', () => {
  const p = new CertPlan(seededRandom(7));
  const times = new Set<number>();
  for (let i = 0; i < 20; i++) {
    p.step(want(`n${i}`), at(0));
    times.add(wake(p.step(fetched(`n${i}`, 0), at(0))) ?? 0);
  }
  for (const t of times) assert.ok(t >= 0.45 * day && t <= 0.55 * day, `${t}`);
});

test('F7 F8: a failed renewal keeps the valid certificate until its end', () => {
  const p = plan();
  p.step(want('a'), at(0));
  p.step(fetched('a', 0), at(0));
  p.step({ kind: 'tick' }, at(day / 2));
  const actions = p.step(failed('a'), at(day / 2 + 5));
  assert.equal(p.status(id('a'))?.state, 'available');
  assert.equal(
    actions.some((a) => a.do === 'expire'),
    false,
  );
  assert.equal(wake(actions), day / 2 + 5 + 1000);
  const end = p.step({ kind: 'tick' }, at(day));
  assert.ok(end.some((a) => a.do === 'expire'));
  assert.equal(p.status(id('a'))?.state, 'unavailable');
});

test('back-off doubles from 1 s to 150 s, and a success resets it', () => {
  const p = plan();
  p.step(want('a', 'warm-up'), at(0));
  let now = 0;
  const waits: number[] = [];
  for (let i = 0; i < 10; i++) {
    const next = wake(p.step(failed('a'), at(now))) ?? 0;
    waits.push(next - now);
    now = next;
    assert.deepEqual(fetches(p.step({ kind: 'tick' }, at(now))), ['a']);
  }
  assert.deepEqual(waits.slice(0, 4), [1000, 2000, 4000, 8000]);
  assert.equal(waits.at(-1), 150_000);
  p.step(fetched('a', now), at(now));
  p.step({ kind: 'tick' }, at(now + day / 2));
  assert.equal((wake(p.step(failed('a'), at(now + day / 2))) ?? 0) - now - day / 2, 1000);
});

test('a waiting connection retries at once, but not more than once a second', () => {
  const p = plan();
  p.step(want('a'), at(0));
  for (let i = 0; i < 6; i++) {
    p.step(failed('a'), at(i * 100_000));
    p.step({ kind: 'tick' }, at((i + 1) * 100_000));
  }
  p.step(failed('a'), at(700_000));
  assert.deepEqual(fetches(p.step(want('a'), at(700_500))), []);
  assert.equal(p.busy(id('a'), at(700_500)), false);
  assert.deepEqual(fetches(p.step(want('a'), at(701_500))), ['a']);
  assert.equal(p.busy(id('a'), at(701_500)), true);
});

test('warm-up wants do not shorten a back-off', () => {
  const p = plan();
  p.step(want('a'), at(0));
  p.step(failed('a'), at(0));
  p.step({ kind: 'tick' }, at(1000));
  p.step(failed('a'), at(1000));
  assert.deepEqual(fetches(p.step(want('a', 'warm-up'), at(2500))), []);
});

test('Z32: a forgotten identity frees its place', () => {
  const p = plan();
  for (let i = 0; i < 8; i++) p.step(want(`n${i}`), at(0));
  p.step(want('next'), at(1));
  assert.deepEqual(fetches(p.step({ kind: 'forget', id: id('n3') }, at(2))), ['next']);
  assert.equal(p.status(id('n3')), undefined);
  assert.deepEqual(
    p.step(fetched('n3', 3), at(3)).filter((a) => a.do === 'fetch'),
    [],
  );
});

test('F11: a jump of the wall clock starts no storm of retries', () => {
  const p = plan();
  p.step(want('a', 'warm-up'), at(0));
  p.step(failed('a'), at(0));
  const jumped = { wallMs: at(0).wallMs + 10 * day, monoMs: 10 };
  assert.deepEqual(fetches(p.step({ kind: 'tick' }, jumped)), []);
});

test('F48: a thousand warm-ups at start: 8 in flight at any time, an urgent one next, all in the end', () => {
  const p = plan();
  const running = new Set<string>();
  const order: string[] = [];
  let most = 0;
  const take = (ids: readonly string[]): void => {
    for (const one of ids) {
      running.add(one);
      order.push(one);
    }
    most = Math.max(most, running.size);
  };
  for (let i = 0; i < 1_000; i++) take(fetches(p.step(want(`n${i}`, 'warm-up'), at(i))));
  take(fetches(p.step(want('urgent', 'real-time'), at(1_000))));
  for (let ms = 1_001; running.size > 0; ms++) {
    const [first = ''] = running;
    running.delete(first);
    take(fetches(p.step(fetched(first, ms), at(ms))));
  }
  assert.equal(most, 8);
  assert.equal(order[8], 'urgent');
  assert.equal(new Set(order).size, 1_001);
  assert.equal(order.length, 1_001, 'none was asked for twice');
});
