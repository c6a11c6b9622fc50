// Token buckets and limits by a clock that is told (waypoint-l7.md 10).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import {
  Buckets,
  type BucketPlan,
  filled,
  fullBucket,
  hasToken,
  takeToken,
  untilToken,
} from '../balance/bucket.ts';
import type { AccessFacts } from '../l7/access.ts';
import { compileService } from '../l7/compile.ts';
import { keyOf, type RateLimit } from '../l7/rate-limits.ts';
import { chargeLocal, limitHeaders } from './limit-plan.ts';

describe('bucket', () => {
  test('in any time no more than its burst and what came in since is taken', () => {
    const plans = fc.record({
      tokens: fc.integer({ min: 1, max: 50 }),
      perMs: fc.constantFrom(1_000, 60_000),
      burst: fc.integer({ min: 1, max: 100 }),
    });
    const steps = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 200 });
    fc.assert(
      fc.property(plans, steps, (p: BucketPlan, waits) => {
        let now = 0;
        let b = fullBucket(p, now);
        let taken = 0;
        for (const w of waits) {
          now += w;
          b = filled(p, b, now);
          if (hasToken(b)) {
            b = takeToken(b);
            taken++;
          } else {
            const ready = filled(p, b, now + untilToken(p, b));
            assert.ok(hasToken(ready), 'the wait that is told is enough');
          }
          assert.ok(taken <= p.burst + (now * p.tokens) / p.perMs + 1e-6);
          assert.ok(b.tokens >= 0 && b.tokens <= p.burst);
        }
      }),
    );
  });

  test('a clock that goes back gives nothing', () => {
    const p = { tokens: 10, perMs: 1_000, burst: 10 };
    assert.equal(filled(p, { tokens: 1, atMs: 1_000 }, 0).tokens, 1);
  });

  test('L22 many keys: bounded; when no more fit they share one, and full ones make room', () => {
    const p = { tokens: 1, perMs: 1_000, burst: 1 };
    const all = new Buckets(p, 10);
    const take = (key: string, now: number): boolean => {
      const found = all.look(key, now);
      const ok = hasToken(found.bucket);
      found.put(ok ? takeToken(found.bucket) : found.bucket);
      return ok;
    };
    const allowed = Array.from({ length: 50 }, (_, i) => take(`k${i}`, 0)).filter(Boolean).length;
    assert.equal(allowed, 11);
    assert.equal(all.size, 11);
    assert.equal(take('k0', 0), false);
    for (let i = 0; i < 20; i++) assert.equal(take(`n${i}`, 5_000 + i * 1_000), true);
  });
});

const facts = (
  more: Partial<AccessFacts['http'] & object> = {},
  principal?: string,
): AccessFacts => ({
  principal,
  identity: undefined,
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  http: { method: 'GET', path: '/a', host: 'web', headers: [], ...more },
});
const config = (rateLimits: readonly Draft<wire.L7RateLimit>[]): wire.L7ServiceConfig =>
  decode(
    'ambientlite.waypoint.v1.ServiceConfig',
    encode('ambientlite.waypoint.v1.ServiceConfig', { namespace: 'n', hostname: 'h', rateLimits }),
  );
function compile(...all: Draft<wire.L7RateLimit>[]): RateLimit[] {
  const made = compileService(
    config(all.map((l, i) => ({ policy: 'n/p', name: `l${i}`, requests: 2, unitMs: 1_000, ...l }))),
  );
  assert.ok('service' in made, JSON.stringify(made));
  return [...(made.service.rateLimits?.values() ?? [])];
}
const passes = (limits: readonly RateLimit[], f: AccessFacts, now = 0): boolean =>
  chargeLocal(limits, f, now).every((s) => !s.over || s.limit.dryRun);

describe('limits', () => {
  test('total; then time gives room again', () => {
    const l = compile({});
    assert.deepEqual(
      [1, 2, 3].map(() => passes(l, facts())),
      [true, true, false],
    );
    assert.equal(passes(l, facts(), 500), true);
    assert.equal(passes(l, facts(), 500), false);
  });

  const keys: readonly (readonly [string, Draft<wire.L7RateKey>, AccessFacts, AccessFacts])[] = [
    ['identity', { identity: true }, facts({}, 'a'), facts({}, 'b')],
    ['path', { path: true }, facts(), facts({ path: '/b' })],
    ['method', { method: true }, facts(), facts({ method: 'PUT' })],
    ['address', { address: true }, facts(), { ...facts(), sourceIp: '10.0.0.9' }],
    ['header', { header: 'x-k' }, facts({ headers: [['x-k', '1']] }), facts()],
    [
      'claim',
      { claim: 'org.id' },
      facts({
        user: {
          issuer: 'i',
          subject: 's',
          claims: { org: { id: 'x' } },
          spaceDelimited: new Set(),
        },
      }),
      facts(),
    ],
  ];
  for (const [name, key, one, other] of keys) {
    test(`each ${name} on its own; none is one, too`, () => {
      const l = compile({ by: [key], requests: 1 });
      assert.deepEqual(
        [one, one, other, other].map((f) => passes(l, f)),
        [true, false, true, false],
      );
    });
  }

  test('several keys: each pair on its own, and no pair can be made to look like another', () => {
    const pair = (a: string, b: string): string =>
      keyOf([
        ['header a', a],
        ['header b', b],
      ]);
    assert.notEqual(pair('1:x', ''), pair('1', ':x'));
    assert.notEqual(pair('', 'a'), pair('a', ''));
  });

  test('only the requests it is for', () => {
    const [l] = compile({ paths: { any: ['/api*'] }, methods: { any: ['POST'] } });
    assert.ok(l);
    assert.equal(l.matches(facts()), false);
    assert.equal(l.matches(facts({ path: '/api/x', method: 'POST' })), true);
  });

  test('a request over one limit uses up no other; dry run refuses nobody', () => {
    const l = compile({ requests: 1 }, { requests: 5 }, { requests: 1, dryRun: true });
    assert.equal(passes(l, facts()), true);
    for (let i = 0; i < 9; i++) assert.equal(passes(l, facts()), false);
    const standings = chargeLocal(l, facts(), 0);
    assert.deepEqual(
      standings.map((s) => s.remaining),
      [0, 4, 0],
    );
    assert.deepEqual(
      standings.map((s) => s.over),
      [true, false, true],
    );
    assert.deepEqual(limitHeaders(standings), [
      ['x-ratelimit-limit', '1, 1;w=1;name="l0"'],
      ['x-ratelimit-remaining', '0'],
      ['x-ratelimit-reset', '1'],
      ['ratelimit-policy', '"l0";q=1;w=1'],
      ['ratelimit', '"l0";r=0;t=1'],
    ]);
  });

  test('burst; a limit that stays as it was goes on counting, a changed one begins anew', () => {
    const given = { policy: 'n/p', name: 'l', requests: 1, unitMs: 1_000, burst: 3 };
    const first = compileService(config([given]));
    assert.ok('service' in first);
    const of = (s: typeof first.service): RateLimit[] => [...(s.rateLimits?.values() ?? [])];
    assert.deepEqual(
      [1, 2, 3, 4].map(() => passes(of(first.service), facts())),
      [true, true, true, false],
    );
    const again = compileService(config([given]), first.service);
    assert.ok('service' in again);
    assert.equal(passes(of(again.service), facts()), false);
    const changed = compileService(config([{ ...given, burst: 4 }]), again.service);
    assert.ok('service' in changed);
    assert.equal(passes(of(changed.service), facts()), true);
  });

  test('P4 what makes no sense is refused as a whole', () => {
    for (const bad of [{ requests: 0 }, { unitMs: 0 }, { by: [{}] }])
      assert.ok(
        'faults' in compileService(config([{ policy: 'n/p', requests: 1, unitMs: 1, ...bad }])),
      );
  });
});
