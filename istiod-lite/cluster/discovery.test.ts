import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KubeObject, readLabelSelector } from '../../core/kube/index.ts';
import { Discovery, type DiscoveryEvent } from './discovery.ts';

const ns = (name: string, labels: Record<string, string> = {}): KubeObject => ({
  metadata: { name, labels },
});
const pod = (namespace: string, name = 'p'): KubeObject => ({ metadata: { name, namespace } });
const shown = (events: readonly DiscoveryEvent<string>[]): string[] =>
  events.map(
    ([kind, type, o]) => `${type} ${kind} ${o.metadata.namespace ?? ''}/${o.metadata.name}`,
  );

test('no selector: every event passes', () => {
  const d = new Discovery<string>([], 'root');
  assert.deepEqual(shown(d.pass(['Pod', 'ADDED', pod('a')])), ['ADDED Pod a/p']);
  assert.ok(d.isSelected('a'));
});

test('a namespace comes and goes with its labels, and so does what is in it', () => {
  const d = new Discovery<string>(readLabelSelector('mesh=on'), 'root');
  assert.deepEqual(d.pass(['Pod', 'ADDED', pod('a')]), []);
  assert.deepEqual(shown(d.pass(['Namespace', 'ADDED', ns('a')])), ['ADDED Namespace /a']);
  assert.ok(!d.isSelected('a'));
  assert.deepEqual(shown(d.pass(['Namespace', 'MODIFIED', ns('a', { mesh: 'on' })])), [
    'MODIFIED Namespace /a',
    'ADDED Pod a/p',
  ]);
  assert.deepEqual(shown(d.pass(['Pod', 'ADDED', pod('a', 'q')])), ['ADDED Pod a/q']);
  assert.deepEqual(shown(d.pass(['Pod', 'DELETED', pod('a')])), ['DELETED Pod a/p']);
  assert.deepEqual(shown(d.pass(['Namespace', 'MODIFIED', ns('a')])), [
    'MODIFIED Namespace /a',
    'DELETED Pod a/q',
  ]);
  assert.deepEqual(d.pass(['Pod', 'MODIFIED', pod('a', 'q')]), []);
});

test('what has no namespace passes, and the control plane’s own is always looked at', () => {
  const d = new Discovery<string>(readLabelSelector('mesh=on'), 'root');
  assert.equal(d.pass(['Node', 'ADDED', ns('n')]).length, 1);
  assert.equal(d.pass(['Pod', 'ADDED', pod('root')]).length, 1);
  assert.equal(d.pass(['Namespace', 'ADDED', ns('root')]).length, 1);
  assert.ok(d.isSelected('root'));
});
