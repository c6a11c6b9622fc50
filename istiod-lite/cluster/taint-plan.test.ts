// K40: which nodes are opened to pods.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { ClusterState, nothingTouched } from './cluster-state.ts';
import { nodesToOpen } from './taint-plan.ts';

const taint = { key: 'cni.istio.io/not-ready', effect: 'NoSchedule' };
const other = { key: 'example.com/slow', effect: 'NoSchedule' };
const node = (name: string, ...taints: object[]): KubeObject => ({
  metadata: { name, resourceVersion: '7' },
  spec: { taints },
});
const pod = (
  name: string,
  on: string,
  labels: Record<string, string>,
  ready = true,
  namespace = 'istio-system',
): KubeObject => ({
  metadata: { name, namespace, labels },
  spec: { nodeName: on },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
});
const agent = { app: 'node-agent' };
const proxy = { app: 'ztunnel' };

function plan(...objects: KubeObject[]): unknown {
  const cluster = new ClusterState('istio-system');
  for (const o of objects) {
    cluster.apply(o.metadata.namespace ? 'Pod' : 'Node', 'ADDED', o, nothingTouched());
  }
  return nodesToOpen(cluster, 'istio-system').map((n) => [n.name, n.taints, n.resourceVersion]);
}

test('K40: a node is opened when its agent and its proxy are ready; other taints stay', () => {
  const both = [pod('a', 'n1', agent), pod('z', 'n1', proxy)];
  assert.deepEqual(plan(node('n1', other, taint), ...both), [['n1', [other], '7']]);
  const istio = [pod('a', 'n1', { 'k8s-app': 'istio-cni-node' }), pod('z', 'n1', proxy)];
  assert.deepEqual(plan(node('n1', taint), ...istio), [['n1', [], '7']]);
  assert.deepEqual(plan(node('n1', other), ...both), [], 'it has none');
});

test('K40: it stays closed while either is missing, not ready, going, elsewhere or another’s', () => {
  const closed = (...pods: KubeObject[]): void =>
    assert.deepEqual(plan(node('n1', taint), ...pods), []);
  closed();
  closed(pod('a', 'n1', agent));
  closed(pod('z', 'n1', proxy));
  closed(pod('a', 'n1', agent), pod('z', 'n1', proxy, false));
  closed(pod('a', 'n1', agent, false), pod('z', 'n1', proxy));
  closed(pod('a', 'n1', agent), pod('z', 'n2', proxy));
  closed(pod('a', 'n1', agent, true, 'shop'), pod('z', 'n1', proxy));
  const going = pod('z', 'n1', proxy);
  going.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
  closed(pod('a', 'n1', agent), going);
});
