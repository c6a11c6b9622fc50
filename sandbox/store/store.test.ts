import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { silentLog } from '../../core/base/index.ts';
import type { KubeObject, StoreEvent } from '../contract.ts';
import { openStore, type SandboxStore, type StoreOptions } from './index.ts';

const pods = 'v1/pods';
const configMaps = 'v1/configmaps';

function open(options: Partial<StoreOptions> = {}): SandboxStore {
  return openStore({ dir: ':memory:', log: silentLog, ...options });
}

function configMap(name: string, data: Record<string, string> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' }, data };
}

function pod(name: string, more: Record<string, unknown> = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: name } },
    spec: { nodeName: 'n1', containers: [], ...more },
  };
}

function crd(): KubeObject {
  const version = (name: string, storage: boolean) => ({ name, served: true, storage, schema: {} });
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', singular: 'thing', kind: 'Thing', shortNames: ['tg'] },
      versions: [version('v1beta1', false), version('v1', true)],
    },
  };
}

const crds = 'apiextensions.k8s.io/v1/customresourcedefinitions';

test('a new object gets uid, time, generation and version', () => {
  using store = closing(open({ now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) }));
  const made = store.it.create(pods, pod('a'));
  assert.match(String(made.metadata.uid), /^[0-9a-f-]{36}$/);
  assert.equal(made.metadata.creationTimestamp, '2026-01-02T03:04:05Z');
  assert.equal(made.metadata.generation, 1);
  assert.equal(made.metadata.resourceVersion, '1');
  assert.deepEqual(store.it.get(pods, 'default', 'a'), made);
  assert.throws(() => store.it.create(pods, pod('a')), { message: 'pods "a" already exists' });
  const generated = store.it.create(pods, {
    ...pod(''),
    metadata: { name: '', generateName: 'b-', namespace: 'default' },
  });
  assert.match(generated.metadata.name, /^b-[a-z0-9]{5}$/);
});

test('replacing keeps status, counts generations, refuses stale versions, ignores no change', () => {
  using store = closing(open());
  const made = store.it.create(pods, { ...pod('a'), status: { phase: 'Pending' } });
  const same = store.it.update(pods, made);
  assert.equal(same.metadata.resourceVersion, made.metadata.resourceVersion);
  const changed = store.it.update(pods, { ...pod('a', { hostname: 'x' }), status: { phase: 'X' } });
  assert.equal(changed.metadata.generation, 2);
  assert.deepEqual(changed['status'], { phase: 'Pending' });
  assert.throws(() => store.it.update(pods, { ...made, spec: {} }), /has been modified/);
  const status = store.it.modify(
    pods,
    'default',
    'a',
    (p) => {
      p['status'] = { phase: 'Running' };
      p['spec'] = {};
    },
    { status: true },
  );
  assert.deepEqual(status?.['status'], { phase: 'Running' });
  assert.equal((status?.['spec'] as { hostname: string } | undefined)?.hostname, 'x');
  assert.equal(status?.metadata.generation, 2);
  assert.equal(
    store.it.modify(pods, 'default', 'none', () => {}),
    undefined,
  );
});

test('pods end gracefully, finalizers hold, uid is a precondition', () => {
  using store = closing(open());
  const types: string[] = [];
  store.it.watch('*', (e) => types.push(`${e.type} ${e.object.metadata.name}`));
  store.it.create(pods, pod('a'));
  const marked = store.it.discard(pods, 'default', 'a');
  assert.equal(marked?.gone, false);
  assert.equal(marked?.object.metadata.deletionGracePeriodSeconds, 30);
  assert.throws(() => store.it.remove(pods, 'default', 'a', { uid: 'other' }), /its uid is/);
  assert.equal(store.it.discard(pods, 'default', 'a', { graceSeconds: 0 })?.gone, true);
  assert.equal(store.it.remove(pods, 'default', 'a'), undefined);
  const held = configMap('c');
  held.metadata.finalizers = ['x/y'];
  store.it.create(configMaps, held);
  store.it.remove(configMaps, 'default', 'c');
  assert.ok(store.it.get(configMaps, 'default', 'c')?.metadata.deletionTimestamp);
  store.it.modify(configMaps, 'default', 'c', (o) => {
    o.metadata.finalizers = [];
  });
  assert.equal(store.it.get(configMaps, 'default', 'c'), undefined);
  assert.deepEqual(types, [
    'ADDED a',
    'MODIFIED a',
    'DELETED a',
    'ADDED c',
    'MODIFIED c',
    'DELETED c',
  ]);
});

test('a namespace is terminated first and removed by its controller', () => {
  using store = closing(open());
  const key = 'v1/namespaces';
  store.it.create(key, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } });
  store.it.remove(key, undefined, 'x');
  assert.deepEqual(store.it.get(key, undefined, 'x')?.['status'], { phase: 'Terminating' });
  store.it.remove(key, undefined, 'x', { graceSeconds: 0 });
  assert.equal(store.it.get(key, undefined, 'x'), undefined);
});

test('orphaning takes the owner out of dependents', () => {
  using store = closing(open());
  const owner = store.it.create(configMaps, configMap('owner'));
  const child = configMap('child');
  child.metadata.ownerReferences = [
    { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: String(owner.metadata.uid) },
  ];
  store.it.create(configMaps, child);
  store.it.remove(configMaps, 'default', 'owner', { propagation: 'Orphan' });
  assert.deepEqual(store.it.get(configMaps, 'default', 'child')?.metadata.ownerReferences, []);
});

test('CRDs add resources in several versions, and take their objects with them', () => {
  using store = closing(open());
  const made = store.it.create(crds, crd());
  const conditions = (made['status'] as { conditions: { type: string }[] }).conditions;
  assert.deepEqual(
    conditions.map((c) => c.type),
    ['NamesAccepted', 'Established'],
  );
  store.it.create('example.com/v1/things', {
    apiVersion: 'example.com/v1',
    kind: 'Thing',
    metadata: { name: 't', namespace: 'default' },
    spec: { size: 1 },
  });
  const old = store.it.get('example.com/v1beta1/things', 'default', 't');
  assert.equal(old?.apiVersion, 'example.com/v1beta1');
  assert.equal(store.it.registry.byKind('example.com/v1', 'Thing')?.plural, 'things');
  store.it.remove(crds, undefined, 'things.example.com');
  assert.equal(store.it.list('example.com/v1/things').items.length, 0);
  assert.equal(store.it.registry.find('example.com', 'v1', 'things'), undefined);
});

test('pages go through everything once, selectors apply', () => {
  using store = closing(open());
  for (let i = 0; i < 7; i++) store.it.create(pods, pod(`p${i}`));
  const seen: string[] = [];
  for (let from: { namespace: string; name: string } | undefined, i = 0; i < 9; i++) {
    const page = store.it.page(pods, {}, from, 3);
    seen.push(...page.texts.map((t) => (JSON.parse(t) as KubeObject).metadata.name));
    from = page.next;
    if (!from) break;
  }
  assert.deepEqual(seen, ['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'p6']);
  const names = (query: object) => store.it.list(pods, query).items.map((o) => o.metadata.name);
  assert.deepEqual(names({ labelSelector: 'app in (p1,p5)' }), ['p1', 'p5']);
  assert.deepEqual(names({ fieldSelector: 'metadata.name=p3' }), ['p3']);
  assert.deepEqual(names({ namespace: 'other' }), []);
});

test('data, versions and the journal survive a restart; a second owner is refused', () => {
  const dir = mkdtempSync(join(tmpdir(), 'sandbox-store-'));
  try {
    const first = open({ dir });
    first.create(crds, crd());
    const made = first.create(configMaps, configMap('a', { k: 'v' }));
    assert.throws(() => open({ dir }));
    first.close();
    using second = closing(open({ dir }));
    assert.deepEqual(second.it.get(configMaps, 'default', 'a'), made);
    assert.ok(second.it.registry.find('example.com', 'v1', 'things'));
    assert.equal(second.it.since(configMaps, 1).length, 1);
    assert.equal(second.it.create(configMaps, configMap('b')).metadata.resourceVersion, '3');
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('the journal is bounded: too old is 410, and so is a version from elsewhere', () => {
  using store = closing(open({ journalEvents: 10 }));
  for (let i = 0; i < 300; i++) store.it.create(configMaps, configMap(`c${i}`));
  assert.throws(() => store.it.since(configMaps, 1), /too old resource version/);
  assert.throws(() => store.it.since(configMaps, 9_999), /too old resource version/);
  assert.equal(store.it.since(configMaps, 295).length, 5);
});

test('listeners run in order, also when one writes; a throwing one is skipped', () => {
  using store = closing(open());
  const seen: number[] = [];
  store.it.watch(configMaps, () => {
    throw new Error('bad listener');
  });
  store.it.watch(configMaps, (e) => {
    if (e.object.metadata.name === 'a') store.it.create(configMaps, configMap('b'));
  });
  store.it.watch('*', (e) => seen.push(e.revision));
  store.it.create(configMaps, configMap('a'));
  assert.deepEqual(seen, [1, 2]);
});

test('property: a list plus the watch after it equals the next list', () => {
  const step = fc.record({
    do: fc.constantFrom('put', 'remove', 'label'),
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    value: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, at) => {
      using store = closing(open());
      const live = new Map<string, string>();
      store.it.watch(configMaps, (e) => follow(live, e));
      let replayed = new Map<string, string>();
      let from = 0;
      steps.forEach((s, i) => {
        if (i === at) {
          replayed = listed(store.it);
          from = store.it.revision;
        }
        apply(store.it, s);
      });
      for (const event of store.it.since(configMaps, from)) follow(replayed, event);
      assert.deepEqual(sorted(live), sorted(listed(store.it)));
      if (steps.length > at || from === 0) assert.deepEqual(sorted(replayed), sorted(live));
    }),
    { numRuns: 60 },
  );
});

function apply(store: SandboxStore, step: { do: string; name: string; value: number }): void {
  const { name, value } = step;
  const exists = store.get(configMaps, 'default', name) !== undefined;
  if (step.do === 'remove') store.remove(configMaps, 'default', name);
  else if (!exists) store.create(configMaps, configMap(name, { value: `${value}` }));
  else {
    store.modify(configMaps, 'default', name, (o) => {
      if (step.do === 'label') o.metadata.labels = { value: `${value}` };
      else o['data'] = { value: `${value}` };
    });
  }
}

function follow(view: Map<string, string>, event: StoreEvent): void {
  const { name } = event.object.metadata;
  if (event.type === 'DELETED') assert.ok(view.delete(name));
  else {
    assert.equal(view.has(name), event.type === 'MODIFIED');
    view.set(name, JSON.stringify(event.object));
  }
}

function listed(store: SandboxStore): Map<string, string> {
  return new Map(
    store.list(configMaps).items.map((o) => [o.metadata.name, JSON.stringify(o)] as const),
  );
}

const sorted = (view: Map<string, string>) => [...view].toSorted(([a], [b]) => (a < b ? -1 : 1));

function closing(store: SandboxStore): Disposable & { it: SandboxStore } {
  return { it: store, [Symbol.dispose]: () => store.close() };
}
