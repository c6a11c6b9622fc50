// A node proxy that starts with a thousand identities, against the CA's limit as it is configured: the plan of the one
// and the bucket of the other, on a clock that is moved by hand (checklist F48).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CertEvent, CertPlan } from '../../certs/cert-plan.ts';
import { FakeClock, seededRandom } from '../../core/base/index.ts';
import type { SpiffeId } from '../../core/model/index.ts';
import { RateLimit, type RateLimitPlan } from '../../istiod-lite/ca/rate-limit.ts';
import { readConfig } from '../../istiod-lite/config.ts';

const identities = 1_000;
/** What one answer of the CA takes. */
const answerMs = 20;
/** Connections that need an identity nobody has asked for; one comes each time this has passed. */
const urgentEveryMs = 100;
const id = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}` as SpiffeId;

interface Story {
  readonly calls: number;
  readonly refused: number;
  readonly most: number;
  readonly lastMs: number;
  /** What each connection waited. */
  readonly waitedMs: readonly number[];
}

function start(rate: RateLimitPlan, urgent: number): Story {
  const clock = new FakeClock();
  const limit = new RateLimit(rate, clock);
  const plan = new CertPlan(seededRandom(1));
  const began = clock.monotonic();
  const at = (): number => clock.monotonic() - began;
  const askedAt = new Map<SpiffeId, number>();
  const issuedAt = new Map<SpiffeId, number>();
  let answers: { atMs: number; event: CertEvent }[] = [];
  let wakeMs = Infinity;
  let [calls, refused, most] = [0, 0, 0];

  const step = (event: CertEvent): void => {
    const now = { wallMs: clock.now(), monoMs: clock.monotonic() };
    for (const a of plan.step(event, now)) {
      if (a.do === 'wake') wakeMs = a.monoMs;
      if (a.do !== 'fetch') continue;
      calls++;
      const life = { notBeforeMs: now.wallMs, notAfterMs: now.wallMs + 86_400_000 };
      const answer: CertEvent = limit.take('istio-system/ztunnel/ztunnel-1')
        ? { kind: 'fetched', id: a.id, ...life }
        : { kind: 'failed', id: a.id, reason: 'too many certificate requests' };
      answers.push({ atMs: at() + answerMs, event: answer });
      most = Math.max(most, answers.length);
    }
  };
  const want = (name: string, priority: 'real-time' | 'warm-up'): void =>
    step({ kind: 'want', id: id(name), priority });

  for (let i = 0; i < identities; i++) want(`n${i}`, 'warm-up');
  while (issuedAt.size < identities + urgent && at() < 600_000) {
    clock.advance(1);
    if (at() % urgentEveryMs === 0) {
      const name = `urgent${askedAt.size}`;
      if (askedAt.size < urgent) askedAt.set(id(name), at());
      // Who waits asks again with each new connection.
      for (const waiting of askedAt.keys())
        if (!issuedAt.has(waiting)) step({ kind: 'want', id: waiting, priority: 'real-time' });
    }
    const due = answers.filter((a) => a.atMs <= at());
    answers = answers.filter((a) => a.atMs > at());
    for (const { event } of due) {
      if (event.kind === 'failed') refused++;
      if (event.kind === 'fetched') issuedAt.set(event.id, at());
      step(event);
    }
    if (wakeMs <= clock.monotonic()) {
      wakeMs = Infinity;
      step({ kind: 'tick' });
    }
  }
  const waitedMs = [...askedAt].map(([one, asked]) => (issuedAt.get(one) ?? Infinity) - asked);
  return { calls, refused, most, lastMs: Math.max(...issuedAt.values()), waitedMs };
}

describe(`F48 Z31 ${identities} identities at start`, () => {
  test('as configured: 8 asked at a time, each once, connections at once, all within a minute', () => {
    const config = readConfig({});
    assert.ok(config.ok);
    const s = start(config.value.caRate, 20);
    assert.equal(s.most, 8);
    assert.equal(s.calls, identities + 20);
    assert.equal(s.refused, 0);
    assert.ok(s.lastMs <= 60_000, `${s.lastMs} ms`);
    for (const ms of s.waitedMs) assert.ok(ms <= 2 * answerMs, `${ms} ms`);
  });

  test('a CA that says later is asked with patience, and all are issued', () => {
    const s = start({ perSecond: 50, burst: 100 }, 20);
    assert.ok(s.refused > 0);
    assert.equal(s.most, 8);
    assert.ok(s.calls <= 5 * identities, `${s.calls} calls`);
    assert.ok(s.waitedMs.every(Number.isFinite));
    assert.ok(s.lastMs <= 60_000, `${s.lastMs} ms`);
  });
});
