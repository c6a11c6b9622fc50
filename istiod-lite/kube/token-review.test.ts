// Bearer token → caller (control-plane.md 5.2, checklist K1).
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { FakeClock, silentLog } from '../../core/base/index.ts';
import type { KubeClient } from '../../core/kube/index.ts';
import { TokenReviewer } from './token-review.ts';

const good = {
  authenticated: true,
  audiences: ['istio-ca'],
  user: {
    username: 'system:serviceaccount:shop:web',
    extra: {
      'authentication.kubernetes.io/pod-name': ['web-0'],
      'authentication.kubernetes.io/pod-uid': ['u1'],
    },
  },
};

function setUp(status: unknown) {
  const asked: unknown[] = [];
  const raw = (_method: string, _path: string, body: unknown): Promise<unknown> => {
    asked.push(body);
    return status instanceof Error ? Promise.reject(status) : Promise.resolve({ status });
  };
  const clock = new FakeClock();
  const kube = { raw } as unknown as KubeClient;
  return { asked, clock, reviewer: new TokenReviewer(kube, ['istio-ca'], clock, silentLog) };
}

describe('token review', () => {
  test('a vouched account comes with its pod', async () => {
    const { reviewer, asked } = setUp(good);
    assert.deepEqual(await reviewer.review('t'), {
      namespace: 'shop',
      serviceAccount: 'web',
      podName: 'web-0',
      podUid: 'u1',
    });
    assert.deepEqual((asked[0] as { spec: unknown }).spec, { token: 't', audiences: ['istio-ca'] });
  });

  const refused: readonly [string, unknown][] = [
    ['not authenticated', { ...good, authenticated: false }],
    ['no answer', undefined],
    ['another audience', { ...good, audiences: ['kubernetes'] }],
    ['a server that ignores audiences', { ...good, audiences: undefined }],
    ['a person', { ...good, user: { username: 'jane' } }],
    ['a node', { ...good, user: { username: 'system:node:n1' } }],
    ['an account without a name', { ...good, user: { username: 'system:serviceaccount:shop:' } }],
  ];
  for (const [what, status] of refused) {
    test(`K1 ${what}: nobody`, async () => {
      assert.equal(await setUp(status).reviewer.review('t'), undefined);
    });
  }

  test('K5 no token and huge ones are not asked about', async () => {
    const { reviewer, asked } = setUp(good);
    assert.equal(await reviewer.review(''), undefined);
    assert.equal(await reviewer.review('x'.repeat(20_000)), undefined);
    assert.equal(asked.length, 0);
  });

  test('a good answer is kept for ten seconds, a bad one not at all', async () => {
    const kept = setUp(good);
    await kept.reviewer.review('t');
    kept.clock.advance(9_000);
    await kept.reviewer.review('t');
    assert.equal(kept.asked.length, 1);
    kept.clock.advance(2_000);
    await kept.reviewer.review('t');
    assert.equal(kept.asked.length, 2, 'a token of a deleted pod dies within ten seconds');
    const bad = setUp({ ...good, authenticated: false });
    await bad.reviewer.review('t');
    await bad.reviewer.review('t');
    assert.equal(bad.asked.length, 2);
  });

  test('F6 a crowd asks the API server thirty-two at a time, a token once, and too many are told to come again', async () => {
    const answers: (() => void)[] = [];
    const raw = (): Promise<unknown> =>
      new Promise((resolve) => answers.push(() => resolve({ status: good })));
    const kube = { raw } as unknown as KubeClient;
    const reviewer = new TokenReviewer(kube, ['istio-ca'], new FakeClock(), silentLog);
    const same = Array.from({ length: 50 }, () => reviewer.review('same'));
    const others = Array.from({ length: 31 + 4_096 }, (_, i) => reviewer.review(`t${i}`));
    const inFlight = (): number => answers.length;
    assert.equal(inFlight(), 32);
    await assert.rejects(reviewer.review('one too many'), /too many/);
    let most = 0;
    for (let left = 32 + 4_096; left > 0; left--) {
      while (inFlight() === 0) await nextTurn();
      most = Math.max(most, inFlight());
      answers.shift()?.();
    }
    assert.ok(most <= 32);
    for (const who of await Promise.all([...same, ...others])) assert.equal(who?.podName, 'web-0');
    assert.ok(await reviewer.review('same'));
    const again = reviewer.review('one too many');
    assert.equal(inFlight(), 1);
    answers.shift()?.();
    assert.ok(await again);
  });

  test('an API server that cannot be asked is no refusal', async () => {
    await assert.rejects(setUp(new Error('down')).reviewer.review('t'));
  });
});
