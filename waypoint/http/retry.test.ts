import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../core/base/index.ts';
import { type Happened, retryDelay, retryReason, retryRules, triesAllowed } from './retry.ts';

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

describe('retryOn, by name (waypoint-l7.md 5.6)', () => {
  const reason = (on: string, h: Happened, codes: readonly number[] = []): string | undefined =>
    retryReason(
      retryRules({ attempts: 1, codes: [...codes], backoffMs: 1, on: [on], sameHost: false }),
      h,
    );
  const failed = (
    failure: 'connect' | 'refused-stream' | 'reset' | 'per-try-timeout' | 'overflow',
  ) => ({ kind: 'failed', failure }) as const;
  const rows: readonly (readonly [string, Happened, string | undefined])[] = [
    ['5xx', answered(500), '5xx'],
    ['5xx', failed('reset'), '5xx'],
    ['5xx', failed('per-try-timeout'), '5xx'],
    ['5xx', answered(404), undefined],
    ['gateway-error', answered(500), undefined],
    ['gateway-error', answered(504), 'gateway-error'],
    ['gateway-error', failed('reset'), 'gateway-error'],
    ['reset', failed('reset'), 'reset'],
    ['reset', answered(503), undefined],
    ['connect-failure', failed('connect'), 'connect-failure'],
    ['connect-failure', failed('reset'), undefined],
    ['refused-stream', failed('refused-stream'), 'refused-stream'],
    ['retriable-4xx', answered(409), 'retriable-4xx'],
    ['retriable-4xx', answered(404), undefined],
    ['envoy-ratelimited', answered(429, ['x-envoy-ratelimited', 'true']), 'envoy-ratelimited'],
    ['5xx', answered(503, ['x-envoy-ratelimited', 'true']), undefined],
    ['5xx', answered(503, ['x-envoy-overloaded', 'true']), undefined],
    ['unavailable', answered(200, ['grpc-status', '14']), 'unavailable'],
    ['cancelled', answered(200, ['grpc-status', '14']), undefined],
    ['internal', answered(200, ['grpc-status', '13']), 'internal'],
    ['retriable-status-codes', failed('connect'), 'connect-failover'],
    ['5xx', failed('overflow'), undefined],
  ];
  for (const [on, happened, wanted] of rows) {
    const what =
      happened.kind === 'failed'
        ? happened.failure
        : `${happened.status} ${happened.headers.join(' ')}`;
    test(`${on}, ${what}: ${wanted ?? 'no'}`, () => assert.equal(reason(on, happened), wanted));
  }
  test('codes of the list are about answers, not resets', () => {
    assert.equal(reason('retriable-status-codes', answered(429), [429]), 'retriable-status-codes');
    assert.equal(reason('retriable-status-codes', failed('reset'), [503]), undefined);
  });

  test('one other endpoint is tried before a byte is sent, whatever the policy', () => {
    const none = retryRules({ attempts: 0, codes: [], backoffMs: 1, on: [], sameHost: false });
    assert.equal(triesAllowed(none, failed('connect'), 'connect-failure'), 1);
    assert.equal(triesAllowed(none, answered(503), 'x'), 0);
    assert.equal(triesAllowed(none, failed('connect'), 'connect-failover'), 1);
  });
});
