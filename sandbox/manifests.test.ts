import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { sandboxKeys } from './contract.ts';
import { mergePatch, readManifests } from './manifests.ts';

test('merge patches as in RFC 7396', () => {
  assert.deepEqual(mergePatch({ a: { b: 1, c: 2 }, d: [1] }, { a: { b: null, e: 3 }, d: [2] }), {
    a: { c: 2, e: 3 },
    d: [2],
  });
  assert.deepEqual(mergePatch('x', { a: 1 }), { a: 1 });
  assert.equal(mergePatch({ a: 1 }, 'x'), 'x');
});

test("the mesh's manifests: namespaces first, workloads patched for the sandbox", () => {
  const { mesh, crds } = readManifests(path.resolve(import.meta.dirname, '..', 'manifests'));
  assert.ok(crds.every((o) => o.kind === 'CustomResourceDefinition'));
  assert.equal(mesh[0]?.kind, 'Namespace');
  for (const kind of ['Deployment', 'DaemonSet']) {
    const workload = mesh.find((o) => o.kind === kind);
    const spec = workload?.['spec'] as
      | { template: { metadata: { annotations: Record<string, string> } } }
      | undefined;
    assert.equal(spec?.template.metadata.annotations[sandboxKeys.network], 'host');
  }
});

test('manifests: only where two proxies can share a node does the new one come first', () => {
  const root = path.resolve(import.meta.dirname, '..', 'manifests');
  const update = (driver: 'loopback' | 'netns'): unknown => {
    const { mesh } = readManifests(root, driver);
    const ztunnel = mesh.find((o) => o.kind === 'DaemonSet' && o.metadata.name === 'ztunnel');
    return (ztunnel?.['spec'] as { updateStrategy?: unknown } | undefined)?.updateStrategy;
  };
  const rolling = (maxSurge: number, maxUnavailable: number) => ({
    rollingUpdate: { maxSurge, maxUnavailable },
  });
  assert.deepEqual(update('netns'), rolling(1, 0));
  assert.deepEqual(update('loopback'), rolling(0, 1));
});
