// What people apply by hand is accepted by a real API server, without a word of warning, and by the sandbox's.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { resources } from '../../core/kube/index.ts';
import { type ApiServer, apiServers, startApiServer } from '../kit/api-server.ts';
import { eventually } from '../kit/eventually.ts';

const manifests = join(import.meta.dirname, '../../manifests');

for (const { kind, skip } of apiServers) {
  describe(`the manifests at ${kind}`, { skip, timeout: 180_000 }, () => {
    let api: ApiServer;
    before(async () => {
      api = await startApiServer(kind);
    });
    after(() => api.stop());

    const kubectl = (...args: string[]) =>
      new Promise<{ code: number; out: string; err: string }>((resolve) => {
        const all = ['--kubeconfig', api.kubeconfig, ...args];
        execFile('kubectl', all, { timeout: 60_000 }, (error, out, err) =>
          resolve({ code: error ? 1 : 0, out, err }),
        );
      });
    const accepted = async (folder: string, ...flags: string[]): Promise<void> => {
      const { code, err } = await kubectl(
        'apply',
        '--server-side',
        '-k',
        join(manifests, folder),
        ...flags,
      );
      assert.deepEqual({ code, err }, { code: 0, err: '' });
    };

    test('the kinds', async () => {
      await accepted('crds', '--dry-run=server');
      await accepted('crds');
      await eventually(
        async () => {
          const { items } = await api.kube.list(resources.customResourceDefinitions);
          return items.every((o) => {
            const { conditions = [] } = (o['status'] ?? {}) as {
              conditions?: { type: string; status: string }[];
            };
            const said = new Map(conditions.map((c) => [c.type, c.status]));
            return said.get('Established') === 'True' && said.get('NonStructuralSchema') !== 'True';
          });
        },
        'every kind is established',
        30_000,
      );
    });

    test('the mesh, and what may be added', async () => {
      await api.kube.create(resources.namespaces, { metadata: { name: 'istio-system' } });
      for (const folder of [
        'base',
        'extras/network-policies',
        'extras/monitoring',
        'extras/node-taint',
      ]) {
        await accepted(folder, '--dry-run=server', '--force-conflicts');
        await accepted(folder, '--force-conflicts');
      }
    });
  });
}
