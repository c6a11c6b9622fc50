// A control plane that starts anew says nothing before it knows the roots that BackendTLSPolicies name: what gateways were
// told of them before is not taken away by a restart.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type KubeClient, resources } from '../../core/kube/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { startCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const crds = join(import.meta.dirname, '../../manifests/crds/gateway.networking.k8s.io.yaml');

test('at start it waits for the ConfigMap that a BackendTLSPolicy names', async () => {
  const at = await claimBlock();
  const cluster = await startCluster();
  await cluster.apply(readFileSync(crds, 'utf8'));
  await cluster.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: p, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.example.com, caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]}`);
  const asked = Promise.withResolvers<() => void>();
  const { kube } = cluster;
  const slow = Object.create(kube, {
    watch: {
      value: (...args: Parameters<KubeClient['watch']>) => {
        const [resource, , query] = args;
        if (resource !== resources.configMaps || query?.namespace !== 'shop')
          return kube.watch(...args);
        let stop = (): void => {};
        asked.resolve(() => (stop = kube.watch(...args)));
        return () => stop();
      },
    },
  }) as KubeClient;
  const env = { BIND_ADDRESS: at(1), HTTP_PORT: '8080' };
  const starting = cluster.istiod({ env, kube: slow });
  const answer = await asked.promise;
  const page = await eventually(
    async () => (await fetch(`http://${at(1)}:8080/ready`)).text(),
    'its page',
  );
  assert.match(page, /^not ready, pending: cluster state, listeners/);
  answer();
  const istiod = await starting;
  assert.equal(await (await fetch(`http://${at(1)}:8080/ready`)).text(), 'ready\n');
  await istiod.stop();
  await cluster.stop();
});
