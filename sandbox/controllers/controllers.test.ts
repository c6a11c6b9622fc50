// The controllers together over a real store; pods are only objects here.
import assert from 'node:assert/strict';
import test from 'node:test';
import { FakeClock, seededRandom, silentLog } from '../../core/base/index.ts';
import { as, keys, type Pod, type Service } from '../objects.ts';
import { openStore, type SandboxStore } from '../store/index.ts';
import { loopbackPlan } from '../addresses.ts';
import { startControllers } from './index.ts';

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await turn();
}

async function open(t: {
  after(work: () => void): void;
}): Promise<{ store: SandboxStore; clock: FakeClock }> {
  const store = openStore({ dir: ':memory:', log: silentLog });
  const clock = new FakeClock();
  const running = startControllers({
    store,
    resources: store.registry,
    addresses: loopbackPlan(64),
    rootPem: 'PEM',
    clock,
    random: seededRandom(1),
    log: silentLog,
  });
  t.after(() => {
    running.stop();
    store.close();
    assert.equal(clock.waiting, 0);
  });
  await settle();
  return { store, clock };
}

const web = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c' }] } },
  },
};

function makeReady(store: SandboxStore): void {
  let n = 20;
  for (const pod of store.list(keys.pods).items) {
    const { namespace, name } = pod.metadata;
    const ip = `127.64.0.${n++}`;
    store.modify(
      keys.pods,
      namespace,
      name,
      (o) => {
        o['status'] = {
          phase: 'Running',
          podIP: ip,
          conditions: [{ type: 'Ready', status: 'True' }],
        };
      },
      { status: true },
    );
  }
}

test('the basics are there', async (t) => {
  const { store } = await open(t);
  assert.ok(store.get(keys.nodes, undefined, 'sandbox'));
  assert.ok(store.get(keys.serviceAccounts, 'default', 'default'));
  const root = store.get(keys.configMaps, 'kube-system', 'kube-root-ca.crt');
  assert.deepEqual(root?.['data'], { 'ca.crt': 'PEM' });
  const api = as<Service>(
    store.get(keys.services, 'default', 'kubernetes') as { kind: string } as never,
  );
  assert.equal(api.spec.clusterIP, '127.64.128.1');
});

test('deployment, service and slices; then deletion takes all of it', async (t) => {
  const { store } = await open(t);
  store.create(keys.deployments, web);
  store.create(keys.services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
  });
  await settle();
  assert.equal(store.list(keys.pods).items.length, 2);
  makeReady(store);
  await settle();
  const deployment = store.get(keys.deployments, 'default', 'web');
  const status = deployment?.['status'] as { availableReplicas: number } | undefined;
  assert.equal(status?.availableReplicas, 2);
  const slice = store.get(keys.endpointSlices, 'default', 'web-sandbox');
  assert.equal((slice?.['endpoints'] as unknown[] | undefined)?.length, 2);
  assert.match(
    String(as<Service>(store.get(keys.services, 'default', 'web') as never).spec.clusterIP),
    /^127\.64\.128\./,
  );
  store.remove(keys.deployments, 'default', 'web');
  store.remove(keys.services, 'default', 'web');
  await settle();
  assert.equal(store.list(keys.replicaSets).items.length, 0);
  assert.equal(store.list(keys.pods).items.map(as<Pod>).length, 0);
  assert.equal(store.get(keys.endpointSlices, 'default', 'web-sandbox'), undefined);
});

test('a service has an address for the outside as long as its type asks for one', async (t) => {
  const { store } = await open(t);
  const outside = (): unknown =>
    (
      store.get(keys.services, 'default', 'gate')?.['status'] as
        | { loadBalancer?: unknown }
        | undefined
    )?.loadBalancer;
  store.create(keys.services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'gate', namespace: 'default' },
    spec: { type: 'LoadBalancer', selector: { app: 'gate' }, ports: [{ port: 80 }] },
  });
  await settle();
  assert.match(JSON.stringify(outside()), /"ingress":\[\{"ip":"127\.64\.128\./);
  store.modify(keys.services, 'default', 'gate', (o) => {
    as<Service>(o as never).spec.type = 'ClusterIP';
  });
  await settle();
  assert.deepEqual(outside(), {});
});

test('a namespace is emptied, then gone', async (t) => {
  const { store, clock } = await open(t);
  store.create(keys.namespaces, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'extra' },
    status: { phase: 'Active' },
  });
  await settle();
  store.create(keys.deployments, { ...web, metadata: { name: 'web', namespace: 'extra' } });
  await settle();
  store.remove(keys.namespaces, undefined, 'extra');
  for (let i = 0; i < 10; i++) {
    await settle();
    clock.advance(200);
  }
  await settle();
  assert.equal(store.get(keys.namespaces, undefined, 'extra'), undefined);
  assert.equal(store.list(keys.pods, { namespace: 'extra' }).items.length, 0);
});

test('a daemon that overlaps: the node is updated when the old pod goes, as kubectl rollout status waits for', async (t) => {
  const { store } = await open(t);
  const spec = (version: string) => ({
    updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    selector: { matchLabels: { app: 'agent' } },
    template: {
      metadata: { labels: { app: 'agent', version } },
      spec: { containers: [{ name: 'c' }] },
    },
  });
  const updated = (): unknown =>
    (
      store.get(keys.daemonSets, 'default', 'agent')?.['status'] as
        | { updatedNumberScheduled: number }
        | undefined
    )?.updatedNumberScheduled;
  store.create(keys.daemonSets, {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'agent', namespace: 'default' },
    spec: spec('1'),
  });
  await settle();
  makeReady(store);
  await settle();
  assert.equal(updated(), 1);
  store.modify(keys.daemonSets, 'default', 'agent', (o) => {
    o['spec'] = spec('2');
  });
  await settle();
  assert.equal(store.list(keys.pods).items.length, 2);
  assert.equal(updated(), 0);
  makeReady(store);
  await settle();
  assert.equal(updated(), 1);
});

test('Recreate: the new pods come when the last old one is really gone, and not before', async (t) => {
  const { store } = await open(t);
  store.create(keys.deployments, {
    ...web,
    spec: {
      ...web.spec,
      replicas: 1,
      strategy: { type: 'Recreate' },
      template: {
        ...web.spec.template,
        spec: { ...web.spec.template.spec, terminationGracePeriodSeconds: 5, nodeName: 'sandbox' },
      },
    },
  });
  await settle();
  makeReady(store);
  await settle();
  const [old] = store.list(keys.pods).items;
  assert.ok(old);
  store.modify(keys.deployments, 'default', 'web', (o) => {
    (o['spec'] as typeof web.spec).template.metadata.labels = { app: 'web', again: '1' } as never;
  });
  await settle();
  const names = (): string[] => store.list(keys.pods).items.map((p) => p.metadata.name);
  assert.deepEqual(names(), [old.metadata.name]);
  store.remove(keys.pods, 'default', old.metadata.name, { graceSeconds: 0 });
  await settle();
  assert.equal(names().length, 1);
  assert.notEqual(names()[0], old.metadata.name);
});
