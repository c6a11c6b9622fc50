// The pool's decisions without sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PoolAction, PoolState } from './pool-state.ts';

const limits = { streamsPerTunnel: 2, unusedMs: 300_000, waiters: 3 };
const say = (actions: PoolAction[]): string[] =>
  actions.map((a) => {
    switch (a.do) {
      case 'give':
        return `give ${a.ticket} on ${a.tunnel}${a.reused ? ' again' : ''}`;
      case 'fail':
        return `fail ${a.tickets.join()}`;
      case 'close':
        return `close ${a.tunnel}`;
      case 'dial':
        return `dial ${a.key}`;
      case 'shed':
        return `shed ${a.ticket}`;
      case 'wake':
        return `wake ${a.atMs}`;
    }
  });
const noWake = (actions: PoolAction[]): string[] => say(actions.filter((a) => a.do !== 'wake'));

test('the first caller dials, the others wait for it', () => {
  const p = new PoolState(limits);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'a', ticket: 1 }, 0)), ['dial a']);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'a', ticket: 2 }, 0)), []);
  assert.deepEqual(noWake(p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 1)), [
    'give 1 on 9',
    'give 2 on 9',
  ]);
});

test('different keys never share', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'b', ticket: 2 }, 0)), ['dial b']);
});

test('Z9: more than the stream limit opens another tunnel, one dial at a time', () => {
  const p = new PoolState(limits);
  for (const ticket of [1, 2, 3]) p.step({ kind: 'take', key: 'a', ticket }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0)), [
    'give 1 on 9',
    'give 2 on 9',
    'dial a',
  ]);
  assert.deepEqual(noWake(p.step({ kind: 'dialled', key: 'a', tunnel: 10 }, 0)), ['give 3 on 10']);
});

test('F38 a failed dial wakes every waiter, and the next caller dials again', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'take', key: 'a', ticket: 2 }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'dial-failed', key: 'a' }, 1)), ['fail 1,2']);
  assert.equal(p.keys, 0);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'a', ticket: 3 }, 2)), ['dial a']);
});

test('waiters are bounded', () => {
  const p = new PoolState(limits);
  for (const ticket of [1, 2, 3]) p.step({ kind: 'take', key: 'a', ticket }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'a', ticket: 4 }, 0)), ['shed 4']);
});

test('a tunnel that went away takes no new streams and closes after its last', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'gone', tunnel: 9 }, 1)), []);
  assert.deepEqual(noWake(p.step({ kind: 'take', key: 'a', ticket: 2 }, 1)), ['dial a']);
  assert.deepEqual(noWake(p.step({ kind: 'released', tunnel: 9 }, 2)), ['close 9']);
});

test('a full tunnel comes back when a stream ends, and serves who waits', () => {
  const p = new PoolState(limits);
  for (const ticket of [1, 2]) p.step({ kind: 'take', key: 'a', ticket }, 0);
  p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0);
  p.step({ kind: 'take', key: 'a', ticket: 3 }, 1);
  assert.deepEqual(noWake(p.step({ kind: 'released', tunnel: 9 }, 2)), ['give 3 on 9 again']);
});

test('Z10: a tunnel without streams for the release time is closed', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'tick' }, 300_000)), []);
  p.step({ kind: 'released', tunnel: 9 }, 300_001);
  assert.deepEqual(noWake(p.step({ kind: 'tick' }, 600_000)), ['close 9']);
  assert.equal(p.tunnels, 0);
  assert.equal(p.keys, 0);
});

test('an evicted peer loses its idle tunnels at once and its busy ones at their end', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0);
  p.step({ kind: 'take', key: 'b', ticket: 2 }, 0);
  p.step({ kind: 'dialled', key: 'b', tunnel: 10 }, 0);
  p.step({ kind: 'released', tunnel: 10 }, 1);
  assert.deepEqual(noWake(p.step({ kind: 'evict', keys: ['a', 'b'] }, 2)), ['close 10']);
  assert.deepEqual(noWake(p.step({ kind: 'released', tunnel: 9 }, 3)), ['close 9']);
});

test('a caller that gave up takes nothing', () => {
  const p = new PoolState(limits);
  p.step({ kind: 'take', key: 'a', ticket: 1 }, 0);
  p.step({ kind: 'cancel', key: 'a', ticket: 1 }, 0);
  assert.deepEqual(noWake(p.step({ kind: 'dialled', key: 'a', tunnel: 9 }, 0)), []);
});
