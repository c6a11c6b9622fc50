// Two replicas of the control plane at one API: one writes statuses, the other takes over when it stops
// (control-plane.md 3.8, checklist F46).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { resources } from '../../core/kube/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

describe('leader', () => {
  let cluster: TestCluster;
  const running: Istiod[] = [];

  before(async () => {
    cluster = await startCluster();
    running.push(await cluster.istiod({ env: { POD_NAME: 'istiod-a' } }));
    await eventually(async () => (await holder()) === 'istiod-a', 'the first leads');
    running.push(await cluster.istiod({ env: { POD_NAME: 'istiod-b' } }));
  });
  after(async () => {
    await Promise.all(running.map((i) => i.stop()));
    await cluster.stop();
  });

  async function holder(): Promise<string | undefined> {
    const lease = await cluster.kube.get(resources.leases, 'istio-system', 'istiod-lite-leader');
    return (lease?.['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity;
  }

  async function judged(name: string): Promise<void> {
    await cluster.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec: {action: DENY, rules: [{}]}`);
    await eventually(async () => {
      const o = await cluster.kube.get(resources.authorizationPolicies, 'shop', name);
      const { conditions = [] } = (o?.['status'] ?? {}) as { conditions?: { type: string }[] };
      return conditions.some((c) => c.type === 'ZtunnelAccepted');
    }, `status of ${name}`);
  }

  test('one leads, and statuses are written', async () => {
    await judged('first');
    assert.equal(await holder(), 'istiod-a');
  });

  test('F46 when it stops the other takes over, and does what was left undone', async () => {
    // Somebody writes beside it: what it knows of the Lease is old when it gives it back.
    const labels = { seen: 'yes' };
    const lease = [resources.leases, 'istio-system', 'istiod-lite-leader'] as const;
    await cluster.kube.patch(...lease, { metadata: { labels } }, { kind: 'merge' });
    await running.shift()?.stop();
    assert.notEqual(await holder(), 'istiod-a', 'given back before it was gone');
    await judged('second');
    assert.equal(await holder(), 'istiod-b');
  });
});
