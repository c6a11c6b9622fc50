// A ConfigMap that is published in namespaces and deleted before the answer to its writing has come.
import { after, before, test } from 'node:test';
import { silentLog } from '../../core/base/index.ts';
import {
  type KubeClient,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { NamespaceConfigMaps } from '../../istiod-lite/kube/config-maps.ts';
import { startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

let cluster: TestCluster;
before(async () => {
  cluster = await startCluster();
});
after(() => cluster.stop());

/** The API; the answer to the first writing waits until the watch has told that it is gone again. */
function slowAnswer(kube: KubeClient, gone: Promise<void>): KubeClient {
  let writes = 0;
  const create = async (r: Resource, o: KubeObject): Promise<KubeObject> => {
    const made = await kube.create(r, o);
    if (++writes > 1) return made;
    await kube.remove(r, o.metadata.namespace, o.metadata.name);
    await gone;
    return made;
  };
  return { ...kube, create };
}

test('F47 deleted before its writing is answered: it is put back', async () => {
  const told = Promise.withResolvers<void>();
  const { kube } = cluster;
  const watching: KubeClient = {
    ...slowAnswer(kube, told.promise),
    watch: (r, handlers, query) =>
      kube.watch(
        r,
        {
          ...handlers,
          event(type, o) {
            handlers.event(type, o);
            if (type === 'DELETED') told.resolve();
          },
        },
        query,
      ),
  };
  const what = { name: 'some-text', key: 'text', text: () => 'yes' };
  const published = new NamespaceConfigMaps(watching, what, systemClock, silentLog);
  published.start();
  try {
    published.namespace('default', true);
    await told.promise;
    await eventually(async () => {
      const o = await kube.get(resources.configMaps, 'default', what.name);
      return (o?.['data'] as { text?: string } | undefined)?.text === 'yes';
    }, 'it is back');
  } finally {
    published.stop();
  }
});
