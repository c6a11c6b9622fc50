// The API servers of this ring answer as the mesh needs it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { resources } from '../../core/kube/index.ts';
import { type ApiServer, apiServers, startApiServer } from '../kit/api-server.ts';

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
  });
}
