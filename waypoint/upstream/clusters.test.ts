// What a cluster remembers between requests, as its endpoints change. The clock is fake.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, seededRandom } from '../../core/base/index.ts';
import { type Listed, namespacedHost } from '../../core/model/index.ts';
import { testWorkload } from '../../test/kit/index.ts';
import { defaultCluster, defaultPolicy } from '../l7/cluster.ts';
import { Clusters } from './clusters.ts';

test('warmup: an endpoint that comes, or is ready again, begins with a small part and ends with its own', () => {
  const clock = new FakeClock();
  const clusters = new Clusters(clock, seededRandom(1));
  const warmup = { durationMs: 60_000, least: 0.1, aggression: 1 };
  const cluster = {
    ...defaultCluster(namespacedHost('shop', 'web'), 80),
    policy: { ...defaultPolicy, balancer: 'round-robin' as const, warmup },
  };
  const workloads = ['a', 'b', 'c'].map((name, i) => testWorkload(name, `10.0.0.${i + 1}`));
  const list = (...ready: boolean[]): readonly Listed[] =>
    ready.flatMap((healthy, i) => {
      const workload = workloads[i];
      return workload ? [{ workload, targetPort: 80, healthy }] : [];
    });
  const self = testWorkload('self', '10.0.0.9');
  const shares = (listed: readonly Listed[], n: number): number[] => {
    const seen = new Map<string, number>();
    for (let i = 0; i < n; i++) {
      const wish = { self, own: undefined, tried: new Set<never>(), hash: undefined };
      const name = clusters.pick(cluster, listed, wish)?.workload.name ?? 'none';
      seen.set(name, (seen.get(name) ?? 0) + 1);
    }
    return workloads.map((w) => seen.get(w.name) ?? 0);
  };
  const near = (got: readonly number[], wanted: readonly number[]): void =>
    assert.ok(
      got.every((n, i) => Math.abs(n - (wanted[i] ?? 0)) <= 4),
      `${got.join()} for ${wanted.join()}`,
    );
  near(shares(list(true, true), 200), [100, 100, 0]);
  clock.advance(60_000);
  const three = list(true, true, true);
  near(shares(three, 210), [100, 100, 10]);
  clock.advance(30_000);
  near(shares(three, 250), [100, 100, 50]);
  clock.advance(30_000);
  near(shares(three, 300), [100, 100, 100]);
  near(shares(list(true, true, false), 200), [100, 100, 0]);
  near(shares(list(true, true, true), 210), [100, 100, 10]);
});
