// What is received of single connections → rules that a socket takes (waypoint-l7.md 5.3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import { connectionRules, defaultConnection } from './connection-rules.ts';

const of = (draft: Draft<wire.L7TrafficPolicy>) =>
  connectionRules(
    decode(
      'ambientlite.waypoint.v1.TrafficPolicy',
      encode('ambientlite.waypoint.v1.TrafficPolicy', draft),
    ),
  );

test('nothing: the defaults', () => assert.deepEqual(of({}), defaultConnection));

for (const [name, given, wanted] of [
  ['as it is', [60_000, 5_000, 3], [60_000, 5_000, 3]],
  ['less than the kernel takes', [1, 999, 0], [1_000, 1_000, 1]],
  ['more than the kernel takes', [2 ** 31 - 1, 40_000_000, 500], [32_767_000, 32_767_000, 127]],
] as const) {
  test(`keepalive ${name}`, () => {
    const [timeMs, intervalMs, probes] = given;
    const { keepalive: k } = of({ tcpKeepalive: { timeMs, intervalMs, probes } });
    assert.deepEqual([k?.idleMs, k?.intervalMs, k?.probes], wanted);
  });
}

test('streams: at most a hundred; PING: with a limit of its own', () => {
  assert.equal(of({ maxConcurrentStreams: 7 }).maxStreams, 7);
  assert.equal(of({ maxConcurrentStreams: 1_000 }).maxStreams, 100);
  const ping = (intervalMs: number, timeoutMs: number) =>
    of({ http2Keepalive: { intervalMs, timeoutMs } }).ping;
  assert.deepEqual(ping(5_000, 2_000), { everyMs: 5_000, limitMs: 2_000 });
  assert.deepEqual(ping(5_000, 0), { everyMs: 5_000, limitMs: 10_000 });
  assert.equal(ping(0, 2_000), undefined);
});
