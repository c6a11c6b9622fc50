// ServiceEntry and WorkloadEntry against a real API: their kinds are installed while the control plane runs,
// addresses are given out into the status, and a proxy hears of it all.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../core/base/index.ts';
import { KubeError, resources } from '../../core/kube/index.ts';
import type { NamespacedHost } from '../../core/model/index.ts';
import type { RpcChannel } from '../../core/rpc/index.ts';
import { MeshFeed, type XdsSource } from '../../core/xds/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { followMesh, startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const crds = readFileSync(
  join(import.meta.dirname, '../../manifests/crds/networking.istio.io.yaml'),
  'utf8',
);
const accounts = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system}
spec: {nodeName: n1, serviceAccountName: ztunnel, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.2.3, podIPs: [{ip: 127.70.2.3}]}
`;
const entries = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  resolution: STATIC
  ports: [{number: 5432, name: pg, protocol: TCP}]
  workloadSelector: {labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 127.70.2.9, labels: {app: db}, serviceAccount: db}
`;

describe('entries', () => {
  let cluster: TestCluster;
  let istiod: Istiod;
  let channel: RpcChannel;
  let source: XdsSource;
  const feed = new MeshFeed(silentLog);
  const db = 'shop/db.example.com' as NamespacedHost;

  before(async () => {
    cluster = await startCluster();
    await cluster.apply(accounts);
    istiod = await cluster.istiod();
    channel = await cluster.channel(
      istiod,
      await cluster.token('istio-system', 'ztunnel', 'ztunnel-1'),
    );
    source = await followMesh(channel, feed, '127.70.2.3');
  });
  after(async () => {
    source.stop();
    channel.close();
    await istiod.stop();
    await cluster.stop();
  });

  test('kinds that are installed later are found, and an entry gets its addresses', async () => {
    await cluster.apply(crds);
    await eventually(async () => {
      await cluster.apply(entries.split('---')[0] ?? '');
      return true;
    }, 'entry accepted');
    const service = await eventually(() => {
      const s = feed.view.service(db);
      return s && s.vips.length === 2 ? s : undefined;
    }, 'service with addresses');
    assert.match(service.vips[0]?.ip ?? '', /^240\.240\./);
    const stored = await cluster.kube.get(resources.serviceEntries, 'shop', 'db');
    const status = stored?.['status'] as { addresses: { value: string; host: string }[] };
    assert.deepEqual(
      status.addresses.map((a) => a.value),
      service.vips.map((v) => v.ip),
    );
  });

  test('a WorkloadEntry becomes an endpoint of what selects it, and goes again', async () => {
    await cluster.apply(entries.split('---')[1] ?? '');
    const [endpoint] = await eventually(() => {
      const all = [...feed.view.endpoints(db).values()];
      return all.length === 1 ? all : undefined;
    }, 'endpoint');
    assert.equal(endpoint?.workload, 'Kubernetes/networking.istio.io/WorkloadEntry/shop/vm');
    assert.deepEqual([...endpoint.ports], [[5432, 5432]]);
    await cluster.kube.remove(resources.workloadEntries, 'shop', 'vm');
    await eventually(() => feed.view.endpoints(db).size === 0, 'endpoint gone');
  });

  test('an entry that goes takes its service along', async () => {
    await cluster.kube.remove(resources.serviceEntries, 'shop', 'db');
    await eventually(() => feed.view.service(db) === undefined, 'service gone');
  });

  const bad: readonly [string, string, RegExp][] = [
    ['no hosts', 'hosts: []', /spec\.hosts/],
    ['an unknown resolution', 'hosts: [a.b], resolution: MAGIC', /spec\.resolution/],
    [
      'a port out of range',
      'hosts: [a.b], ports: [{number: 70000, name: x}]',
      /spec\.ports\[0\]\.number/,
    ],
    ['a negative weight', 'hosts: [a.b], endpoints: [{address: 192.0.2.1, weight: -1}]', /weight/],
  ];
  for (const [what, spec, field] of bad) {
    test(`K9 ${what}: refused with the name of the field, nothing stored`, async () => {
      await assert.rejects(
        cluster.apply(
          `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: bad, namespace: shop}, spec: {${spec}}}`,
        ),
        (e) => e instanceof KubeError && e.code === 422 && field.test(e.message),
      );
      assert.equal(await cluster.kube.get(resources.serviceEntries, 'shop', 'bad'), undefined);
    });
  }
});
