// The life of an enrolled namespace, with a request every 50 ms all through it: enrolment, policy change,
// control plane restart, node proxy restart, un-enrolment. Real processes, real capture, real TLS.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { RequestLoop } from '../../cli/index.ts';
import { resources } from '../../core/kube/index.ts';
import { startSandbox, type TestSandbox } from '../kit/sandbox.ts';

const web = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
        - name: web
          command: [node, samples/bookinfo/src/details.ts]
          readinessProbe: {tcpSocket: {port: 9080}, periodSeconds: 1}
`;
const url = 'http://web/details/0';
const allowCurl = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-curl}
spec:
  selector: {matchLabels: {app: web}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/curl]}}]}]
`;
const denyAll = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-all}
spec: {selector: {matchLabels: {app: web}}, action: DENY, rules: [{}]}
`;

describe('life of an enrolled namespace', () => {
  let sandbox: TestSandbox;
  let loop: RequestLoop;
  const enrolled = async (): Promise<number> => {
    const { pods } = await sandbox.world.status();
    return pods.filter((p) => p.namespace === 'default' && p.enrolled).length;
  };
  const more = (count: number): Promise<unknown> => {
    const mark = loop.ok;
    return sandbox.world.until(`${count} more requests`, 30_000, () =>
      Promise.resolve(loop.ok >= mark + count),
    );
  };
  const meshPod = async (name: string): Promise<string> => {
    const { mesh } = await sandbox.world.status();
    return mesh.find((m) => m.name.startsWith(name))?.name ?? '';
  };
  const restarted = (name: string, old: string): Promise<unknown> =>
    sandbox.world.until(`${name} back`, 30_000, async () => {
      const { mesh } = await sandbox.world.status();
      return mesh.some((m) => m.name.startsWith(name) && m.name !== old && m.ready);
    });

  before(async () => {
    sandbox = await startSandbox();
    await sandbox.world.applyText(web, 'web');
    await sandbox.world.applyFile('samples/curl/curl.yaml');
    await sandbox.world.available('default', 30_000);
    loop = await sandbox.world.loop('deploy/curl', url);
    await more(3);
  });

  after(async () => {
    loop.stop();
    await sandbox.stop();
  });

  test('enrolment fails no request and restarts nothing', async () => {
    const processes = await sandbox.world.processes('default');
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
    await sandbox.world.until('all enrolled', 30_000, async () => (await enrolled()) === 3);
    await more(10);
    assert.deepEqual(loop.failed, []);
    assert.deepEqual(await sandbox.world.processes('default'), processes);
    const report = await sandbox.world.verify('deploy/curl', 'svc/web');
    assert.equal(report.verdict, 'mtls');
  });

  test('a policy that allows the caller fails no request', async () => {
    await sandbox.world.applyText(allowCurl, 'allow-curl');
    await more(10);
    assert.deepEqual(loop.failed, []);
  });

  test('F1 F2 the control plane restarts: traffic goes on, and changes arrive again', async () => {
    const old = await meshPod('istiod');
    await sandbox.world.kube.remove(resources.pods, 'istio-system', old);
    await more(5);
    await restarted('istiod', old);
    await more(10);
    assert.deepEqual(loop.failed, [], 'no request failed while it was away');
    await sandbox.world.applyText(denyAll, 'deny-all');
    await sandbox.world.until('the policy to refuse', 30_000, () =>
      Promise.resolve(loop.failed.length > 0),
    );
    assert.match(loop.failed[0] ?? '', /^000 56$/, 'a refusal is a reset');
    await sandbox.world.kube.remove(resources.authorizationPolicies, 'default', 'deny-all');
    await more(5);
    loop.failed.length = 0;
  });

  test('F15 the node proxy is gone: captured traffic fails and never falls back to plaintext', async () => {
    const old = await meshPod('ztunnel');
    await sandbox.world.kube.remove(resources.pods, 'istio-system', old);
    await sandbox.world.until('a failed request', 30_000, () =>
      Promise.resolve(loop.failed.length > 0),
    );
    await restarted('ztunnel', old);
    await more(10);
    const codes = new Set(loop.failed.map((line) => line.split(' ')[1]));
    assert.ok(
      [...codes].every((c) => c === '7' || c === '56' || c === '52'),
      [...codes].join(','),
    );
    const report = await sandbox.world.verify('deploy/curl', 'svc/web');
    assert.equal(report.verdict, 'mtls');
    loop.failed.length = 0;
  });

  test('un-enrolment fails no request and restarts nothing', async () => {
    const processes = await sandbox.world.processes('default');
    // Gone at the proxies too: a pod that has left has no identity for it any more.
    await sandbox.world.kube.remove(resources.authorizationPolicies, 'default', 'allow-curl');
    await sandbox.world.until('the policy to be gone', 30_000, async () => {
      const report = await sandbox.world.verify('deploy/curl', 'svc/web');
      return report.policies.length === 0;
    });
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': null });
    await sandbox.world.until('none enrolled', 30_000, async () => (await enrolled()) === 0);
    await more(10);
    assert.deepEqual(loop.failed, []);
    assert.deepEqual(await sandbox.world.processes('default'), processes);
    const { items } = await sandbox.world.kube.list(resources.pods, 'default');
    for (const p of items)
      assert.equal(p.metadata.annotations?.['ambient.istio.io/redirection'], undefined);
    await sandbox.world.until('the verifier to say plaintext', 30_000, async () => {
      const report = await sandbox.world.verify('deploy/curl', 'svc/web');
      return report.verdict === 'plaintext';
    });
  });
});
