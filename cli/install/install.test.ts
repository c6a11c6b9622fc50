// Values and objects of an installation, without a cluster.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { judgeExisting, planInstall } from './plan.ts';
import { defaultValues, readSource, renderObjects } from './render.ts';
import { podTrouble, rolloutOf } from './rollout.ts';
import { readValues, slotsOf, valueTable } from './values.ts';

const source = readSource();
const defaults = defaultValues(source);

test('every value stands where the table says, everywhere the same', () => {
  for (const [name, row] of Object.entries(valueTable)) {
    const slots = slotsOf(name, source.base);
    assert.ok(row.extra !== undefined || slots.length >= row.places.length, name);
    assert.deepEqual([...new Set(slots.map((s) => s.get()))].slice(1), [], name);
  }
});

test('the default values are the manifests as they are written', () => {
  const objects = renderObjects(source, defaults, 'istio-system');
  const key = (o: KubeObject): string => `${o.kind} ${o.metadata.name}`;
  const written = new Map([...source.crds, ...source.base].map((o) => [key(o), o]));
  assert.equal(objects.length, written.size);
  for (const o of objects) assert.deepEqual(o, written.get(key(o)));
});

test('everything carries the label that it is removed by', () => {
  const on = new Map(defaults).set('monitoring', true).set('networkPolicies', true);
  const without = renderObjects(source, on, 'istio-system').filter(
    (o) => o.metadata.labels?.['app.kubernetes.io/part-of'] !== 'ambient-lite',
  );
  assert.deepEqual(without, []);
});

const refused: [string[], RegExp][] = [
  [['nonsense=1'], /unknown value "nonsense"; known are image, /],
  [['image'], /--set wants name=value, not "image"/],
  [['istiod.replicas=two'], /istiod\.replicas: "two" is no whole number/],
  [['istiod.replicas=-1'], /is no whole number/],
  [['monitoring=maybe'], /monitoring: "maybe" is neither true nor false/],
];
for (const [texts, why] of refused)
  test(`refused: --set ${texts.join()}`, () =>
    assert.throws(() => readValues(defaults, [], texts), why));

test('files, then --set; Istio’s prefix and profile are understood', () => {
  const values = readValues(
    defaults,
    [{ logFormat: 'json', istiod: { replicas: 3, cpu: '1' } }, null],
    ['profile=ambient', 'values.istiod.replicas=5', 'trustDomain=a=b'],
  );
  assert.equal(values.get('istiod.replicas'), 5);
  assert.equal(values.get('istiod.cpu'), '1');
  assert.equal(values.get('trustDomain'), 'a=b');
  assert.throws(() => readValues(defaults, [[1]], []), /must be a YAML mapping/);
});

test('order: kinds, rights, control plane, proxy, agent', () => {
  const phases = planInstall(renderObjects(source, defaults, 'istio-system'));
  assert.deepEqual(
    phases.map((p) => `${p.title}: ${p.objects.at(-1)?.kind}`),
    [
      'kinds: CustomResourceDefinition',
      'accounts and rights: PodDisruptionBudget',
      'control plane: Deployment',
      'node proxy: DaemonSet',
      'node agent: DaemonSet',
    ],
  );
});

const deployment = (status: object): KubeObject => ({
  kind: 'Deployment',
  metadata: { name: 'd', generation: 2 },
  spec: { replicas: 2 },
  status,
});
test('a rollout is over when the new pods of the newest generation are available', () => {
  const all = { observedGeneration: 2, updatedReplicas: 2, availableReplicas: 2 };
  assert.equal(rolloutOf(deployment(all)).kind, 'ready');
  assert.equal(rolloutOf(deployment({ ...all, observedGeneration: 1 })).kind, 'waiting');
  assert.equal(rolloutOf(deployment({ ...all, updatedReplicas: 1 })).kind, 'waiting');
  assert.equal(rolloutOf(deployment({})).kind, 'waiting');
});

test('why a pod does not run: its container, the scheduler, an event, its phase', () => {
  const pod = (status: object): KubeObject => ({ metadata: { name: 'p' }, status });
  const no = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no node' };
  const event = {
    metadata: { name: 'e' },
    type: 'Warning',
    reason: 'FailedMount',
    message: 'no map',
  };
  const ended = { terminated: { reason: 'OOMKilled', exitCode: 137 } };
  assert.equal(podTrouble(pod({ conditions: [{ type: 'Ready', status: 'True' }] }), []), undefined);
  assert.equal(
    podTrouble(pod({ containerStatuses: [{ name: 'c', state: {}, lastState: ended }] }), []),
    'OOMKilled (container c): exit code 137',
  );
  assert.equal(podTrouble(pod({ conditions: [no] }), []), 'Unschedulable: no node');
  assert.equal(podTrouble(pod({}), [event]), 'FailedMount: no map');
  assert.equal(podTrouble(pod({ phase: 'Pending' }), []), 'is Pending');
});

test('what others made for everybody stays theirs; a program of theirs stops it', () => {
  const theirs: KubeObject = { metadata: { name: 'x' } };
  const ours: KubeObject = {
    metadata: { name: 'x', labels: { 'app.kubernetes.io/part-of': 'ambient-lite' } },
  };
  const judge = (kind: string, existing?: KubeObject): string =>
    judgeExisting({ kind, metadata: { name: 'x' } }, existing).kind;
  for (const kind of ['CustomResourceDefinition', 'Namespace', 'GatewayClass'])
    assert.equal(judge(kind, theirs), 'keep');
  assert.equal(judge('Deployment', theirs), 'refuse');
  assert.equal(judge('Deployment', ours), 'apply');
  assert.equal(judge('Deployment'), 'apply');
});
