// F6: five hundred node proxies come back to a control plane that was away, all at once (`npm run test:soak`; not part
// of npm test, for what five hundred handshakes cost). Prints what it measured.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { createCsr } from '../../certs/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { resources } from '../../core/kube/index.ts';
import type { SpiffeId } from '../../core/model/index.ts';
import { openChannel, type RpcChannel } from '../../core/rpc/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { MeshFeed, XdsSource } from '../../core/xds/index.ts';
import { startCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const many = 500;
const limitMs = 60_000;
const id = 'spiffe://cluster.local/ns/istio-system/sa/ztunnel' as SpiffeId;
const objects = `
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system}
spec: {nodeName: n1, serviceAccountName: ztunnel, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.0.3, podIPs: [{ip: 127.70.0.3}]}`;

test(`F6 ${many} proxies reconnect at once: all are served, the CA is not starved, memory is bounded`, {
  timeout: 240_000,
}, async (t) => {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as net.AddressInfo;
  probe.close();
  await once(probe, 'close');
  const cluster = await startCluster();
  await cluster.apply(objects);
  const start = () => cluster.istiod({ env: { XDS_PORT: String(port) } });
  let istiod = await start();
  const secret = await cluster.kube.get(resources.secrets, 'istio-system', 'istio-ca-secret');
  const data = secret?.['data'] as Record<string, string>;
  const roots = Buffer.from(data['root-cert.pem'] ?? '', 'base64').toString('utf8');
  const token = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1');
  const open = (): RpcChannel =>
    openChannel({
      address: `127.0.0.1:${port}`,
      roots: () => roots,
      serverName: 'istiod.istio-system.svc',
      token: () => token,
      headers: { clusterid: 'Kubernetes' },
    });
  let served = 0;
  const sources = Array.from({ length: many }, (_, i) => {
    const feed = new MeshFeed(silentLog);
    const node = { id: `ztunnel~127.70.0.3~ztunnel-${i}.istio-system~istio-system.svc` };
    const hooks = { message: () => void served++ };
    const more = { clock: systemClock, random: systemRandom, log: silentLog, hooks };
    return new XdsSource({ open, node, feed, ...more });
  });
  try {
    for (const s of sources) s.start();
    await eventually(() => sources.every((s) => s.connected), 'all served', limitMs);
    const before = process.memoryUsage.rss();
    await istiod.stop();
    await eventually(() => !sources.some((s) => s.connected), 'all cut off', limitMs);
    served = 0;
    const began = performance.now();
    istiod = await start();
    const asked = open();
    const { csr } = await createCsr(id);
    const answer = await asked.unary('createCertificate', { csr, validityDuration: 600 }, limitMs);
    const certified = performance.now() - began;
    asked.close();
    assert.ok(answer.certChain.length >= 2);
    await eventually(() => sources.every((s) => s.connected), 'all served again', limitMs);
    const all = performance.now() - began;
    const grown = (process.memoryUsage.rss() - before) / 2 ** 20;
    t.diagnostic(`a certificate in ${certified.toFixed(0)} ms, all in ${all.toFixed(0)} ms`);
    t.diagnostic(`${served} answers, ${grown.toFixed(0)} MiB more in both ends`);
    assert.ok(served >= many);
    assert.ok(grown < 300, `${grown.toFixed(0)} MiB`);
  } finally {
    for (const s of sources) s.stop();
    await istiod.stop();
    await cluster.stop();
  }
});
