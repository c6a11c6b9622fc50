import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workloadUid } from '../../core/model/index.ts';
import { EndpointHealth, type Result } from './endpoint-health.ts';

const policy = {
  consecutive_5xx: 2,
  consecutiveGateway: 0,
  intervalMs: 10_000,
  baseEjectionMs: 1_000,
  maxEjectionPercent: 50,
};
const [a, b] = [workloadUid('a'), workloadUid('b')];

test('ejected after a run of failures, for longer each time, never more than allowed', () => {
  const health = new EndpointHealth();
  let nowMs = 0;
  const say = (uid: typeof a, result: Result): boolean =>
    health.outcome({ service: 's', uid: uid!, result, policy, endpoints: 2, nowMs });
  assert.equal(say(a, '5xx'), false);
  assert.equal(say(a, 'ok'), false, 'a success starts the count anew');
  assert.equal(say(a, '5xx'), false);
  assert.equal(say(a, 'gateway'), true);
  assert.deepEqual([...health.ejected('s', nowMs)], [a]);
  say(b, '5xx');
  assert.equal(say(b, '5xx'), false, 'half of two is out already');
  nowMs = 1_001;
  assert.equal(health.ejected('s', nowMs).size, 0);
  say(a, '5xx');
  assert.equal(say(a, '5xx'), true);
  nowMs += 1_500;
  assert.equal(health.ejected('s', nowMs).size, 1, 'twice as long the second time');
});
