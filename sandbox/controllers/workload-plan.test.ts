import assert from 'node:assert/strict';
import test from 'node:test';
import type { Pod } from '../objects.ts';
import {
  amount,
  daemonHashLabel,
  planDaemon,
  planReplicas,
  planRollout,
  rollingLimits,
  type SetView,
  stable,
  type Strategy,
  templateHash,
} from './workload-plan.ts';

const rolling: Strategy = { type: 'RollingUpdate', maxSurge: '25%', maxUnavailable: '25%' };
const set = (
  name: string,
  wanted: number,
  ready = wanted,
  more: Partial<SetView> = {},
): SetView => ({
  name,
  isNew: name === 'new',
  wanted,
  current: wanted,
  ready,
  ending: 0,
  ...more,
});
const plan = (replicas: number, strategy: Strategy, ...sets: SetView[]): Record<string, number> =>
  Object.fromEntries(planRollout(replicas, strategy, sets));

test('amounts: percent up for surge, down for unavailable', () => {
  assert.equal(amount('25%', 3, 'up'), 1);
  assert.equal(amount('25%', 3, 'down'), 0);
  assert.equal(amount(2, 3, 'down'), 2);
  assert.equal(amount(undefined, 4, 'up'), 1);
  assert.deepEqual(rollingLimits(3, { maxSurge: 0, maxUnavailable: 0 }), {
    surge: 0,
    unavailable: 1,
  });
});

const table: readonly [string, number, Strategy, SetView[], Record<string, number>][] = [
  ['first rollout', 3, rolling, [set('new', 0)], { new: 3 }],
  ['scale down', 1, rolling, [set('new', 3)], { new: 1 }],
  ['nothing to do', 2, rolling, [set('new', 2)], {}],
  ['one replica: the new one first', 1, rolling, [set('old', 1), set('new', 0)], { new: 1 }],
  ['new not ready: the old one stays', 1, rolling, [set('old', 1), set('new', 1, 0)], {}],
  ['new ready: the old one goes', 1, rolling, [set('old', 1), set('new', 1)], { old: 0 }],
  ['broken old ones go at once', 2, rolling, [set('old', 2, 0), set('new', 0)], { new: 1, old: 0 }],
  [
    'recreate: down first',
    2,
    { ...rolling, type: 'Recreate' },
    [set('old', 2), set('new', 0)],
    { old: 0 },
  ],
  [
    'recreate: waits for those that end',
    2,
    { ...rolling, type: 'Recreate' },
    [set('old', 0, 0, { ending: 1 }), set('new', 0)],
    {},
  ],
  [
    'recreate: then up',
    2,
    { ...rolling, type: 'Recreate' },
    [set('old', 0), set('new', 0)],
    { new: 2 },
  ],
];
for (const [name, replicas, strategy, sets, expected] of table) {
  test(`rollout: ${name}`, () => {
    assert.deepEqual(plan(replicas, strategy, ...sets), expected);
  });
}

test('a rollout ends, whatever the numbers', () => {
  for (let replicas = 0; replicas <= 7; replicas++) {
    let sets = [set('old', replicas), set('new', 0)];
    for (let round = 0; round < 40; round++) {
      const sizes = planRollout(replicas, rolling, sets);
      if (sizes.size === 0) break;
      sets = sets.map((s) => set(s.name, sizes.get(s.name) ?? s.wanted));
    }
    assert.deepEqual(
      sets.map((s) => s.wanted),
      [0, replicas],
    );
  }
});

const pod = (
  name: string,
  more: { ready?: boolean; hash?: string; ending?: boolean; phase?: string } = {},
): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    creationTimestamp: `2026-01-01T00:00:0${name}Z`,
    labels: { [daemonHashLabel]: more.hash ?? 'h' },
    ...(more.ending ? { deletionTimestamp: 'x' } : {}),
  },
  spec: { containers: [] },
  status: {
    phase: more.phase ?? 'Running',
    conditions: [{ type: 'Ready', status: more.ready ? 'True' : 'False' }],
  },
});
const names = (pods: readonly Pod[]): string[] => pods.map((p) => p.metadata.name);

test('replicas: missing ones are made, unready and young ones go first', () => {
  assert.equal(planReplicas(2, [pod('1')]).create, 1);
  assert.equal(
    planReplicas(1, [pod('1', { ending: true }), pod('2', { phase: 'Failed' })]).create,
    1,
  );
  const pods = [pod('1', { ready: true }), pod('2', { ready: true }), pod('3')];
  assert.deepEqual(names(planReplicas(1, pods).remove), ['3', '2']);
});

test('daemon: old first without surge, new first with', () => {
  const update = { onDelete: false, surge: false };
  assert.deepEqual(planDaemon('h', [], update), { create: true, remove: [] });
  const old = pod('1', { hash: 'old', ready: true });
  const removed = planDaemon('h', [old], update);
  assert.deepEqual([removed.create, names(removed.remove)], [false, ['1']]);
  assert.equal(planDaemon('h', [pod('1', { ending: true })], update).create, false);
  const surge = { onDelete: false, surge: true };
  assert.deepEqual(planDaemon('h', [old], surge), { create: true, remove: [] });
  assert.deepEqual(planDaemon('h', [old, pod('2')], surge).remove, []);
  assert.deepEqual(names(planDaemon('h', [old, pod('2', { ready: true })], surge).remove), ['1']);
  assert.deepEqual(planDaemon('h', [old], { onDelete: true, surge: false }).remove, []);
});

test('template hashes: order of keys does not count, content does', () => {
  const a = { metadata: { labels: { a: '1', b: '2' } }, spec: { containers: [] } };
  const b = { spec: { containers: [] }, metadata: { labels: { b: '2', a: '1' } } };
  assert.equal(templateHash(a), templateHash(b));
  assert.notEqual(templateHash(a), templateHash({ spec: { containers: [] } }));
  assert.match(templateHash(a), /^[a-z0-9]{10}$/);
  assert.equal(stable({ b: undefined, a: [1, null] }), '{"a":[1,null]}');
});
