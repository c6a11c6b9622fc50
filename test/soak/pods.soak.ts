// Bars over time and number for capture (`npm run test:soak`, as root or in unshare -Urnm; not part of npm
// test): 200 pods on one node enrolled within 10 s, at most 200 KB of memory for each idle one, no
// descriptor left after 1,000 pods came and went. Prints what it measured.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../kit/eventually.ts';
import { startSandbox } from '../kit/sandbox.ts';
import { startNetnsMesh } from '../netns/mesh.ts';
import { skip, withNamespaces } from '../netns/ring.ts';

const many = 200;
const sleepers = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  replicas: ${many}
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec: {containers: [{name: c, command: [sleep, "3600"]}]}
`;

const rssKb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
const fdsOf = (pid: number | 'self'): number => fs.readdirSync(`/proc/${pid}/fd`).length;

test(`${many} pods on one node: enrolled within 10 s, at most 200 KB each, no descriptor left`, {
  skip,
  timeout: 300_000,
}, async (t) => {
  const sandbox = await startSandbox({ driver: 'netns', nodes: 1 });
  try {
    const ztunnel = (await sandbox.world.status()).mesh.find((m) => m.name.startsWith('ztunnel'));
    const pid = ztunnel?.pid ?? assert.fail('no ztunnel');
    await sandbox.world.applyText(sleepers, 'sleepers');
    // Asked four times a second: the status of so many pods is work for the very process that is measured.
    const count = async (is: 'ready' | 'enrolled'): Promise<number> => {
      await pause(250);
      const { pods } = await sandbox.world.status();
      return pods.filter((p) => p.namespace === 'default' && p[is]).length;
    };
    await eventually(async () => (await count('ready')) === many, 'all run', 120_000);
    const before = { rss: rssKb(pid), fds: fdsOf(pid) };
    const began = performance.now();
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
    await eventually(async () => (await count('enrolled')) === many, 'all enrolled', 60_000);
    const seconds = (performance.now() - began) / 1000;
    const each = (rssKb(pid) - before.rss) / many;
    t.diagnostic(`enrolled in ${seconds.toFixed(1)} s, ${each.toFixed(0)} KB each`);
    assert.ok(seconds <= 10, `${seconds.toFixed(1)} s`);
    assert.ok(each <= 200, `${each.toFixed(0)} KB`);
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': null });
    await eventually(async () => (await count('enrolled')) === 0, 'none enrolled', 60_000);
    await eventually(() => fdsOf(pid) <= before.fds + 2, 'descriptors as before', 30_000);
  } finally {
    await sandbox.stop();
  }
});

test('1,000 pods come and go, and no descriptor stays', { skip, timeout: 120_000 }, async (t) => {
  const mesh = await startNetnsMesh();
  try {
    await withNamespaces(1, async (a) => {
      const come = async (i: number): Promise<void> => {
        const pod = { uid: `pod-${i}`, name: `p${i}`, namespace: 'shop', serviceAccount: `p${i}` };
        await mesh.zds.add({ ...pod, netnsFd: a.fd });
        await mesh.zds.remove(pod.uid, 0);
      };
      await come(0);
      const before = await eventually(() => fdsOf('self'));
      for (let i = 1; i <= 1000; i++) await come(i);
      await eventually(() => fdsOf('self') <= before, 'no more descriptors than before');
      t.diagnostic(`${before} descriptors`);
    });
  } finally {
    await mesh.stop();
  }
});
