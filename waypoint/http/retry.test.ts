import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../core/base/index.ts';
import { type Happened, retryDelay, retryReason, retryRules } from './retry.ts';

const own = retryRules({
  attempts: 3,
  codes: [500, 503],
  backoffMs: 100,
  on: [],
  sameHost: false,
});
const standard = retryRules(undefined);
const answered = (status: number, ...headers: [string, string][]): Happened => ({
  kind: 'answered',
  status,
  headers,
});

describe('again or not (waypoint-l7.md 5.6)', () => {
  const rows: readonly (readonly [string, Happened, boolean, boolean])[] = [
    ['connect failure', { kind: 'failed', failure: 'connect' }, true, true],
    ['refused stream', { kind: 'failed', failure: 'refused-stream' }, true, true],
    ['reset before an answer', { kind: 'failed', failure: 'termination' }, false, true],
    ['a kept connection that had ended', { kind: 'failed', failure: 'stale' }, true, true],
    ['per-try timeout', { kind: 'failed', failure: 'per-try-timeout' }, false, true],
    ['overflow', { kind: 'failed', failure: 'overflow' }, false, false],
    ['protocol error', { kind: 'failed', failure: 'protocol' }, false, false],
    ['the caller left', { kind: 'failed', failure: 'gone' }, false, false],
    ['503', answered(503), false, true],
    ['502, not listed', answered(502), false, false],
    ['200', answered(200), false, false],
    ['503 of an overloaded peer', answered(503, ['x-envoy-overloaded', 'true']), false, false],
    ['gRPC unavailable', answered(200, ['grpc-status', '14']), true, true],
    ['gRPC not found', answered(200, ['grpc-status', '5']), false, false],
  ];
  for (const [name, happened, byDefault, byRoute] of rows) {
    test(name, () => {
      assert.equal(retryReason(standard, happened) !== undefined, byDefault, 'default');
      assert.equal(retryReason(own, happened) !== undefined, byRoute, 'route');
    });
  }
});

test('waits grow with full jitter and are capped at ten times the base', () => {
  const random = seededRandom(1);
  for (let n = 1; n < 20; n++) {
    const ms = retryDelay({ ...standard, attempts: 20 }, n, random);
    assert.ok(ms >= 0 && ms <= Math.min((2 ** n - 1) * 25, 250), `${n}: ${ms}`);
  }
});
