// The program itself: `node ztunnel/main.ts` as its DaemonSet starts it, with the mesh and its certificates
// from istiod-lite over real xDS and CA channels, told its pods by a scripted node agent.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { resources } from '../../core/kube/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { startCluster, type TestCluster } from '../kit/cluster.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { type NodeAgent, startNodeAgent } from '../kit/node-agent.ts';

const at = await claimBlock();
const client = at(5);
const server = at(6);
const own = at(3);
const vip = at(109);
const pod = (name: string, namespace: string, account: string, ip: string, more = ''): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${account}}${more}}
spec: {nodeName: n1, serviceAccountName: ${account}, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: ${ip}, podIPs: [{ip: ${ip}}], conditions: [{type: Ready, status: "True"}]}
---`;
const enrolled = ', annotations: {ambient.istio.io/redirection: enabled}';
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
kind: Service
metadata: {name: server, namespace: shop}
spec: {clusterIP: ${vip}, selector: {app: server}, ports: [{name: tcp, port: 80, targetPort: 8080}]}
---
${pod('ztunnel-1', 'istio-system', 'ztunnel', own)}${pod('client', 'shop', 'client', client, enrolled)}${pod('server', 'shop', 'server', server, enrolled)}`;

const dir = mkdtempSync(join(tmpdir(), 'ambient-program-'));
let cluster: TestCluster;
let istiod: Istiod;
let agent: NodeAgent;
let echo: EchoApp;
let program: ChildProcess | undefined;
let output = '';
let port = 0;

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: free } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return free;
}

before(async () => {
  cluster = await startCluster();
  await cluster.apply(objects.replace(/---\s*$/, ''));
  port = await freePort();
  // Its CA is made, and it goes again: the program starts without it.
  istiod = await cluster.istiod({ env: { XDS_PORT: String(port) } });
  await istiod.stop();
  agent = await startNodeAgent();
  echo = await startEcho(server);
  const secret = await cluster.kube.get(resources.secrets, 'istio-system', 'istio-ca-secret');
  const data = secret?.['data'] as Record<string, string>;
  writeFileSync(join(dir, 'root.pem'), Buffer.from(data['root-cert.pem'] ?? '', 'base64'));
  writeFileSync(join(dir, 'token'), await cluster.token('istio-system', 'ztunnel', 'ztunnel-1'));
  program = spawn(process.execPath, ['ztunnel/main.ts'], {
    cwd: join(import.meta.dirname, '../..'),
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PROXY_MODE: 'addressed',
      NODE_NAME: 'n1',
      POD_NAME: 'ztunnel-1',
      POD_NAMESPACE: 'istio-system',
      INSTANCE_IP: own,
      INPOD_UDS: agent.path,
      XDS_ADDRESS: `https://127.0.0.1:${port}`,
      ALT_XDS_HOSTNAME: 'istiod.istio-system.svc',
      XDS_ROOT_CA: join(dir, 'root.pem'),
      AUTH_TOKEN: join(dir, 'token'),
      ADMIN_ADDRESS: own,
      STATS_ADDRESS: own,
      READINESS_ADDRESS: own,
      TERMINATION_GRACE_PERIOD_SECONDS: '3',
    },
  });
  for (const stream of [program.stdout, program.stderr]) {
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  }
});

after(async () => {
  if (program?.exitCode === null) program.kill('SIGKILL');
  await agent.stop();
  await echo.stop();
  await istiod.stop();
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
});

const ready = async (): Promise<boolean> => {
  try {
    return (await fetch(`http://${own}:15021/healthz/ready`)).status === 200;
  } catch {
    return false;
  }
};

test('F5 started while the control plane is away: not ready, pods are held, nothing goes in clear', async () => {
  const readiness = await eventually(
    () => fetch(`http://${own}:15021/healthz/ready`).catch(() => undefined),
    'the program',
  );
  assert.equal(readiness.status, 500);
  assert.match(await readiness.text(), /state manager/);
  await eventually(() => output.includes('xDS stream ended'), 'a try in vain');
  await assert.rejects(callFrom(client, server), { code: 'ECONNREFUSED' });
  assert.equal(echo.received(), 0);
  assert.equal(await ready(), false);
  istiod = await cluster.istiod({ env: { XDS_PORT: String(port) } });
});

test('the program serves its pods with certificates and configuration from istiod-lite', async () => {
  for (const [name, ip] of [
    ['client', client],
    ['server', server],
  ] as const) {
    const info = { name, namespace: 'shop', serviceAccount: name, addresses: [ip] };
    assert.equal(await agent.add({ uid: `uid-${name}`, ...info }), '', output);
  }
  assert.equal(await agent.snapshot(), '');
  await eventually(ready, 'ready');
  const call = await callFrom(client, vip, 80);
  call.socket.end('over the wire');
  assert.equal(await call.ended, 'end', output);
  assert.equal(call.text(), 'over the wire');
  const metrics = await (await fetch(`http://${own}:15020/metrics`)).text();
  assert.match(
    metrics,
    /istio_tcp_connections_opened_total\{reporter="source",source_workload="client"/,
  );
  // Lines come out of the process when they come.
  const line =
    /connection complete.*src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client"/;
  await eventually(() => line.test(output), 'the line of the connection');
});

test('M11 a rule with a method, and no waypoint to see methods: nobody is let in by it', async () => {
  const call = async (): Promise<string> => {
    const c = await callFrom(client, vip, 80);
    c.socket.end('x');
    return c.ended;
  };
  await cluster.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get, namespace: shop}
spec: {selector: {matchLabels: {app: server}}, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/client"]}}], to: [{operation: {methods: [GET]}}]}]}`);
  await eventually(async () => (await call()) === 'ECONNRESET', 'the refusal');
  await cluster.kube.remove(resources.authorizationPolicies, 'shop', 'only-get');
  await eventually(async () => (await call()) === 'end', 'the way without it');
});

test('a policy written to the API refuses within a moment', async () => {
  await cluster.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec: {selector: {matchLabels: {app: server}}, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/other"]}}]}]}`);
  await eventually(async () => {
    const call = await callFrom(client, vip, 80);
    call.socket.end('x');
    return (await call.ended) === 'ECONNRESET';
  }, 'the refusal');
});

test('SIGTERM ends the program with code 0', async () => {
  const exited = new Promise((resolve) => program?.once('exit', resolve));
  program?.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.ok(!output.includes('uncaught'), output);
});
