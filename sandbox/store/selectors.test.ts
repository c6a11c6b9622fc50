import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesLabels } from '../../core/kube/index.ts';
import { matchesFields, parseFieldSelector, parseLabelSelector } from './selectors.ts';

const labels = { app: 'web', tier: 'front', 'istio.io/dataplane-mode': 'ambient', empty: '' };

const cases: readonly (readonly [string, boolean])[] = [
  ['', true],
  ['app=web', true],
  ['app==web', true],
  ['app = web', true],
  ['app!=web', false],
  ['missing!=web', true],
  ['app', true],
  ['!app', false],
  ['!missing', true],
  ['app in (web, api)', true],
  ['app in (api),tier=front', false],
  ['app notin (api),tier in (front,back)', true],
  ['missing notin (a)', true],
  ['missing in (a)', false],
  ['istio.io/dataplane-mode=ambient', true],
  ['empty=', true],
  ['constructor', false],
];

test('label selectors match as Kubernetes does', () => {
  for (const [text, expected] of cases) {
    assert.equal(matchesLabels(parseLabelSelector(text), labels), expected, text);
  }
});

test('a selector that cannot be read is a 400', () => {
  for (const text of ['a=(', 'a in (b', '-x=1', 'a in b']) {
    assert.throws(() => parseLabelSelector(text), { name: 'StatusError' }, text);
  }
  assert.throws(() => parseFieldSelector('metadata.name'), { name: 'StatusError' });
});

test('field selectors read dotted paths, absent fields are empty', () => {
  const pod = { metadata: { name: 'a' }, spec: { nodeName: 'n1' }, status: { phase: 'Running' } };
  const fits = (text: string) => matchesFields(parseFieldSelector(text), pod);
  assert.equal(fits('metadata.name=a,spec.nodeName=n1'), true);
  assert.equal(fits('status.phase!=Running'), false);
  assert.equal(fits('spec.hostname='), true);
  assert.equal(fits('involvedObject.uid=x'), false);
});
