// The API servers of this ring answer as the mesh needs it.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connectKube, resources } from '../../core/kube/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { type ApiServer, apiServers, startApiServer } from '../kit/api-server.ts';
import { NodeAgent, readConfig, recordFinder } from '../../node-agent/index.ts';
import { eventually } from '../kit/eventually.ts';
import { applyObjects, compareRights, objectsOf } from './kit.ts';

for (const { kind, skip } of apiServers) {
  describe(`the API of ${kind}`, { skip, timeout: 120_000 }, () => {
    let api: ApiServer;
    before(async () => {
      api = await startApiServer(kind);
    });
    after(() => api.stop());

    test('keeps its data over a restart', async () => {
      await api.kube.create(resources.namespaces, { metadata: { name: 'kept' } });
      await api.restart();
      const kept = await api.kube.get(resources.namespaces, undefined, 'kept');
      assert.equal(kept?.metadata.name, 'kept');
    });

    test('node-agent can write its annotation, and nothing else of a pod', async () => {
      const rights = objectsOf('base/node-agent.yaml').filter((o) => o.kind !== 'DaemonSet');
      await applyObjects(api, [...objectsOf('base/namespace.yaml'), ...rights]);
      const spec = { containers: [{ name: 'c', image: 'x' }] };
      const metadata = { name: 'p', namespace: 'kept', annotations: { kept: 'yes' } };
      await api.kube.create(resources.pods, { metadata, spec });
      const token = await api.token('istio-system', 'node-agent');
      const kube = await connectKube({
        kubeconfig: api.kubeconfigOf('node-agent', token),
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
      });
      const write = async (value: string | null): Promise<unknown> => {
        const patch = { metadata: { annotations: { 'ambient.istio.io/redirection': value } } };
        const how = { kind: 'merge', subresource: 'status' } as const;
        return (await kube.patch(resources.pods, 'kept', 'p', patch, how)).metadata.annotations;
      };
      assert.deepEqual(await write('enabled'), {
        kept: 'yes',
        'ambient.istio.io/redirection': 'enabled',
      });
      assert.deepEqual(await write(null), { kept: 'yes' });
      const evil = { spec: { containers: [{ name: 'c', image: 'evil' }] } };
      const how = { kind: 'strategic', subresource: 'status' } as const;
      await kube.patch(resources.pods, 'kept', 'p', evil, how);
      const [after] = (await kube.list(resources.pods, 'kept')).items;
      assert.match(JSON.stringify(after), /"image":"x"/);
      const { config } = readConfig({ NODE_NAME: 'n1', ZDS_SOCKET: join(api.dir, 'zds.sock') });
      assert.ok(config.ok);
      const agent = new NodeAgent(config.value, {
        kube,
        finder: recordFinder(api.dir),
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
        ready: () => {},
      });
      await agent.start();
      // Changes reach it as they reach these: by watches, which are told of when they end.
      const seen = new Set<string>();
      const stops = [resources.namespaces, resources.pods].map((r) =>
        kube.watch(r, {
          event: (type) => void seen.add(`${type} ${r.plural}`),
          synced: () => {},
        }),
      );
      let n = 0;
      const merge = { kind: 'merge' } as const;
      await eventually(async () => {
        const labels = { n: String(n++) };
        await api.kube.patch(
          resources.namespaces,
          undefined,
          'kept',
          { metadata: { labels } },
          merge,
        );
        await api.kube.patch(resources.pods, 'kept', 'p', { metadata: { labels } }, merge);
        return seen.has('MODIFIED namespaces') && seen.has('MODIFIED pods');
      }, 'watches');
      for (const stop of stops) stop();
      await agent.stop();
      if (kind === 'sandbox') return;
      await eventually(() => {
        const { missing, unused } = compareRights(api, 'node-agent', rights);
        assert.deepEqual({ missing, unused }, { missing: [], unused: [] });
        return true;
      }, 'it uses what it may');
      const forbidden = { code: 403 };
      await assert.rejects(
        kube.patch(resources.pods, 'kept', 'p', evil, { kind: 'strategic' }),
        forbidden,
      );
    });
  });
}
