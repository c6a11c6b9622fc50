// What is remembered of requests: facts, and no more of a caller's texts than is shown.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { FakeClock, parseIpPort } from '../core/base/index.ts';
import { MeshState, printIdentity } from '../core/model/index.ts';
import { createMetrics } from '../core/telemetry/index.ts';
import { testWorkload } from '../test/kit/index.ts';
import { type Exchange, newOutcome } from './http/exchange.ts';
import { declareMetrics } from './metrics.ts';
import { Reports } from './report.ts';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;
const heap = (): number => {
  collect();
  return process.memoryUsage().heapUsed;
};
const place = parseIpPort('10.0.0.1:80');
const identity = printIdentity({
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'waypoint',
});

/** A target is one text, of which path and query are parts. */
function asked(target: string): Exchange {
  const cut = target.indexOf('?');
  const head = { method: 'GET', path: target.slice(0, cut), query: target.slice(cut), headers: [] };
  const service = { hostname: 'web', workloads: true };
  const connection = { service, peer: {}, source: place, target: place, trace: '0'.repeat(32) };
  return { connection, outcome: newOutcome(), startedMs: 0, head } as unknown as Exchange;
}

test('a thousand records of long paths hold no long path, and say as much of each as is shown', () => {
  const state = new MeshState();
  const reports = new Reports({
    clock: new FakeClock(),
    log: undefined,
    metrics: declareMetrics(createMetrics(), '0'),
    view: () => state.view,
    self: () => testWorkload('waypoint', '10.0.0.9'),
    identity,
  });
  const record = (from: number, count: number): void => {
    for (let i = from; i < from + count; i++) {
      const long = Buffer.alloc(50_000, 97 + (i % 26)).toString('latin1');
      reports.request(asked(i % 2 === 0 ? `/${i}?${long}` : `/${i}/\\${long}?`));
    }
  };
  record(0, 10);
  const before = heap();
  record(10, 1000);
  const grown = heap() - before;
  assert.ok(grown < 20e6, `${Math.round(grown / 1e6)} MB`);
  const [last, other] = reports.recent();
  assert.match(last?.request?.path ?? '', /^\/1009\/\\u\{5c\}v{293}…$/);
  assert.equal(other?.request?.path, '/1008');
});
