import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, silentLog } from '../core/base/index.ts';
import { MeshFeed } from '../core/xds/index.ts';
import { waitFor } from './context.ts';
import { workload } from './testkit.ts';

test('3.1.4 4.1.2 4.3.2: the local workload is waited for, 5 s and no longer', async () => {
  const clock = new FakeClock();
  const feed = new MeshFeed(silentLog);
  const late = workload('late', ['10.0.0.1'], { node: 'n1' });
  const look = () => feed.view.localWorkload(late, 'n1');
  const tried = Promise.withResolvers<string>();
  void waitFor(feed, clock, 5_000, look).then((found) => tried.resolve(found?.name ?? 'gave up'));
  clock.advance(4_999);
  assert.equal(await Promise.race([tried.promise, Promise.resolve('waits')]), 'waits');
  clock.advance(1);
  assert.equal(await tried.promise, 'gave up');
  const found = waitFor(feed, clock, 5_000, look);
  feed.apply({ workloads: [late] });
  assert.equal((await found)?.name, 'late');
});
