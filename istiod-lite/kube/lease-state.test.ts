// F46: one replica writes; the others take over when it is gone, whatever their clocks say.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type LeasePlan,
  type LeaseSeen,
  type LeaseState,
  leads,
  leaseLost,
  leaseWritten,
  nextLeaseStep,
  noLease,
  observeLease,
} from './lease-state.ts';

const plan: LeasePlan = { durationMs: 15_000, renewDeadlineMs: 10_000 };
const seen = (holder: string, renewed: string): LeaseSeen => ({ holder, renewed, version: '1' });

describe('lease', () => {
  const other = observeLease(noLease, seen('b', 't1'), 1_000);
  const rows: readonly [string, LeaseState, number, string][] = [
    ['there is none', noLease, 0, 'create'],
    ['it is ours', observeLease(noLease, seen('a', 't1'), 0), 0, 'write'],
    ['it was given back', observeLease(noLease, seen('', 't1'), 0), 0, 'write'],
    ['another holds it', other, 15_900, 'wait'],
    ['another has not renewed for its duration', other, 16_000, 'write'],
    ['another has renewed meanwhile', observeLease(other, seen('b', 't2'), 15_000), 16_000, 'wait'],
    [
      'seeing the same again does not count as a renewal',
      observeLease(other, seen('b', 't1'), 15_000),
      16_000,
      'write',
    ],
  ];
  for (const [what, state, now, want] of rows) {
    test(`${what}: ${want}`, () => assert.equal(nextLeaseStep(state, 'a', plan, now), want));
  }

  test('a leader that cannot renew stops before another may begin', () => {
    const state = leaseWritten(noLease, plan, 1_000);
    assert.ok(leads(state, 10_999));
    assert.ok(!leads(state, 11_000));
    assert.ok(!leads(leaseLost(state), 1_001));
    assert.ok(plan.renewDeadlineMs < plan.durationMs);
  });

  test('never two leaders, however requests are delayed and clocks differ', () => {
    const step = fc.record({
      who: fc.constantFrom(0, 1, 2),
      wait: fc.nat(9_000),
      works: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const states: LeaseState[] = [noLease, noLease, noLease];
        const skew = [0, 5_000_000, 77];
        let lease: LeaseSeen | undefined;
        let now = 0;
        for (const { who, wait, works } of steps) {
          now += wait;
          const mine = now + (skew[who] ?? 0);
          const name = `r${who}`;
          let state = observeLease(states[who] ?? noLease, lease, mine);
          if (nextLeaseStep(state, name, plan, mine) === 'wait') state = leaseLost(state);
          else if (works) {
            lease = { holder: name, renewed: `t${now}-${who}`, version: '' };
            state = leaseWritten(observeLease(state, lease, mine), plan, mine);
          }
          states[who] = state;
          const leaders = states.filter((s, i) => leads(s, now + (skew[i] ?? 0)));
          assert.ok(leaders.length <= 1);
        }
      }),
    );
  });
});
