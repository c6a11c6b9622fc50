// The table of control-plane.md 1.3.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EnrolmentFacts, modeLabel, wantsMesh } from './enrolment.ts';

const pod = (more: Partial<EnrolmentFacts> = {}): EnrolmentFacts => ({
  namespace: 'shop',
  labels: {},
  annotations: {},
  hostNetwork: false,
  ended: false,
  ...more,
});
const ambient = { [modeLabel]: 'ambient' };
const none = { [modeLabel]: 'none' };

test('the pod’s label beats the namespace’s', () => {
  assert.equal(wantsMesh(pod(), undefined), false);
  assert.equal(wantsMesh(pod(), none), false);
  assert.equal(wantsMesh(pod(), ambient), true);
  assert.equal(wantsMesh(pod({ labels: ambient }), none), true);
  assert.equal(wantsMesh(pod({ labels: none }), ambient), false);
});

test('never: host network, ended, sidecar, excluded namespace, ztunnel', () => {
  const never: Partial<EnrolmentFacts>[] = [
    { hostNetwork: true },
    { ended: true },
    { annotations: { 'sidecar.istio.io/status': '{}' } },
    { namespace: 'kube-system' },
    { namespace: 'istio-system', labels: { app: 'ztunnel', ...ambient } },
  ];
  for (const more of never)
    assert.equal(wantsMesh(pod(more), ambient), false, JSON.stringify(more));
  assert.equal(wantsMesh(pod(), ambient, new Set(['shop'])), false);
});
