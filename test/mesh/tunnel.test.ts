// How tunnels carry connections: half-close, resets, reuse, refusals of every kind, the probe.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { createCa } from '../../certs/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import type { ProbeAnswer } from '../../ztunnel/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const vip = at(101);
let mesh: TestMesh;
let echo: EchoApp;

before(async () => {
  mesh = await startMesh();
  echo = await startEcho(server);
  mesh.apply({ services: [testService('server', vip, 80, 8080)] });
  await mesh.enrol(
    testWorkload('client', client),
    testWorkload('server', server, { services: backs('server') }),
  );
});
after(async () => {
  await mesh.stop();
  await echo.stop();
});

test('F22 half-close travels through the tunnel and the answer still comes back', async () => {
  const call = await callFrom(client, server);
  call.socket.end('last words');
  assert.equal(await call.ended, 'end');
  assert.equal(call.text(), 'last words');
});

test('a megabyte each way arrives whole', async () => {
  const call = await callFrom(client, server);
  const sent = Buffer.alloc(1 << 20, 'x');
  call.socket.end(sent);
  assert.equal(await call.ended, 'end');
  assert.equal(call.text().length, sent.length);
});

test('F25 a reset by the client app reaches the server app as a reset', async () => {
  const call = await callFrom(client, server);
  call.socket.write('a');
  await eventually(() => call.text() === 'a', 'the echo');
  const [far] = echo.open;
  assert.ok(far);
  const seen = new Promise<string>((resolve) => {
    far.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
  call.socket.resetAndDestroy();
  assert.equal(await seen, 'ECONNRESET');
});

test('F25 a reset by the server app reaches the client app as a reset', async () => {
  const call = await callFrom(client, server);
  call.socket.write('a');
  await eventually(() => call.text() === 'a', 'the echo');
  for (const far of echo.open) far.resetAndDestroy();
  assert.equal(await call.ended, 'ECONNRESET');
});

test('Z20 M31 a connection is counted at once as opened and at its end as closed, with all its labels', async () => {
  const counts = async (what: string): Promise<readonly string[]> =>
    (await mesh.scrape())
      .split('\n')
      .filter((l) => l.startsWith(`istio_tcp_connections_${what}_total{`) && l.includes(vip80));
  const vip80 = 'destination_service="server.shop.svc.cluster.local"';
  const sum = (lines: readonly string[]): number =>
    lines.reduce((n, l) => n + Number(l.split('} ')[1]), 0);
  const opened = sum(await counts('opened'));
  const closed = sum(await counts('closed'));
  const call = await callFrom(client, vip, 80);
  call.socket.write('a');
  await eventually(() => call.text() === 'a', 'the echo');
  assert.equal(sum(await counts('opened')), opened + 2);
  assert.equal(sum(await counts('closed')), closed);
  call.socket.end();
  await call.ended;
  await eventually(async () => sum(await counts('closed')) === closed + 2, 'both ends closed');
  const lines = await counts('closed');
  for (const reporter of ['source', 'destination']) {
    const line = lines.find((l) => l.includes(`reporter="${reporter}"`)) ?? '';
    for (const label of [
      'source_workload="client"',
      'source_canonical_service="client"',
      'source_canonical_revision="v1"',
      'source_workload_namespace="shop"',
      'source_principal="spiffe://cluster.local/ns/shop/sa/client"',
      'source_app="client"',
      'source_cluster="Kubernetes"',
      'destination_service="server.shop.svc.cluster.local"',
      'destination_service_namespace="shop"',
      'destination_service_name="server"',
      'destination_workload="server"',
      'destination_canonical_service="server"',
      'destination_canonical_revision="v1"',
      'destination_workload_namespace="shop"',
      'destination_principal="spiffe://cluster.local/ns/shop/sa/server"',
      'destination_app="server"',
      'destination_cluster="Kubernetes"',
      'request_protocol="tcp"',
      'response_flags="-"',
      'connection_security_policy="mutual_tls"',
    ])
      assert.ok(line.includes(label), `${label} in ${line}`);
  }
});

test('Z8: the second connection to the same peer uses the tunnel of the first', async () => {
  for (let i = 0; i < 2; i++) {
    const call = await callFrom(client, server);
    call.socket.end('x');
    await call.ended;
  }
  const { outbound } = await mesh.bothEnds();
  assert.equal(outbound.reused, true);
});

test('Z3: a service address leads to its endpoint and is named in metrics', async () => {
  const call = await callFrom(client, vip, 80);
  call.socket.end('by name');
  assert.equal(await call.ended, 'end');
  assert.equal(call.text(), 'by name');
  const { outbound, inbound } = await mesh.bothEnds();
  assert.equal(outbound.destination.service, 'server.shop.svc.cluster.local');
  assert.equal(outbound.destination.hboneAddr, `${server}:8080`);
  assert.equal(inbound.destination.service, 'server.shop.svc.cluster.local');
});

test('C8: a closed app port is a reset at the client and 503 between the proxies', async () => {
  const call = await callFrom(client, server, 8081);
  assert.equal(await call.ended, 'ECONNRESET');
  const { outbound, inbound } = await mesh.bothEnds();
  assert.equal(outbound.reason, 'APP_UNREACHABLE');
  assert.equal(outbound.status, 503);
  assert.equal(inbound.reason, 'APP_UNREACHABLE');
});

test('C4 N1: the proxy ports are no targets', async () => {
  for (const port of [15001, 15006, 15008]) {
    const call = await callFrom(client, server, port);
    assert.equal(await call.ended, 'ECONNRESET');
  }
});

test('N6: a connection without a PROXY header, or with a broken one, is refused before routing', async () => {
  for (const bytes of [
    'GET / HTTP/1.1\r\n\r\n',
    '\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c123456789012',
  ]) {
    const socket = net.connect({ host: client, port: 15001, localAddress: client });
    const ended = new Promise<string>((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    });
    socket.write(Buffer.from(bytes, 'latin1'));
    assert.equal(await ended, 'ECONNRESET');
  }
  const [record] = await mesh.records();
  assert.equal(record?.reason, 'NO_ORIGINAL_TARGET');
});

test('unrelated addresses pass in clear from the pod’s own address', async () => {
  const other = await startEcho(at(77));
  const call = await callFrom(client, at(77));
  call.socket.end('hello');
  assert.equal(await call.ended, 'end');
  assert.equal(other.seen.at(-1), client);
  await other.stop();
});

test('a plaintext target that is served here is still entered through its own proxy', async () => {
  const ip = at(5);
  const app = await startEcho(ip);
  await mesh.enrol(testWorkload('plain', ip, { protocol: 'TCP' }));
  const call = await callFrom(client, ip);
  call.socket.end('hello');
  assert.equal(await call.ended, 'end');
  assert.equal(app.seen.at(-1), client);
  const inbound = (await mesh.records()).find((r) => r.direction === 'inbound');
  assert.equal(inbound?.protocol, 'TCP');
  assert.equal(inbound?.destination.workload, 'plain');
  await app.stop();
});

test('design 6.6: a dead endpoint is replaced by another before any byte is sent', async () => {
  const dead = testWorkload('dead', at(9), { services: backs('pair') });
  mesh.apply({
    services: [testService('pair', at(102), 80, 8080)],
    workloads: [
      dead,
      testWorkload('server', server, { services: new Map([...backs('server'), ...backs('pair')]) }),
    ],
  });
  for (let i = 0; i < 8; i++) {
    const call = await callFrom(client, at(102), 80);
    call.socket.end('x');
    assert.equal(await call.ended, 'end');
    assert.equal(call.text(), 'x');
  }
});

test('F35 no ready endpoint is a reset with its own reason', async () => {
  mesh.apply({ services: [testService('empty', at(103), 80, 8080)] });
  const call = await callFrom(client, at(103), 80);
  assert.equal(await call.ended, 'ECONNRESET');
  assert.equal((await mesh.records())[0]?.reason, 'NO_HEALTHY_UPSTREAM');
});

test('the probe proves the way of traffic and leaves a record at the other end', async () => {
  const body = { source: 'Kubernetes//Pod/shop/client', destination: 'server:80', fresh: true };
  const answer = await mesh.post('/ambient/probe', body);
  const probe = JSON.parse(answer.body) as ProbeAnswer;
  assert.equal(probe.ok, true, answer.body);
  assert.equal(probe.protocol, 'HBONE');
  assert.equal(probe.peer?.id, 'spiffe://cluster.local/ns/shop/sa/server');
  const { trace } = probe;
  const inbound = await eventually(async () => {
    const found = await mesh.get(`/ambient/connections?trace=${trace}`);
    return (JSON.parse(found.body) as { direction: string; state: string }[]).find(
      (r) => r.direction === 'inbound',
    );
  }, 'the record of the other end');
  assert.notEqual(inbound.state, 'refused');
});

test('a plain probe tells a connection that is kept from one that is taken and then reset', async () => {
  let refuse = false;
  const outside = net.createServer((socket) => {
    socket.on('error', () => {});
    if (refuse) socket.resetAndDestroy();
  });
  await new Promise<void>((resolve) => outside.listen(7000, at(50), resolve));
  const body = { source: 'Kubernetes//Pod/shop/client', destination: `${at(50)}:7000` };
  try {
    for (const reset of [false, true]) {
      refuse = reset;
      const answer = await mesh.post('/ambient/probe', body);
      const { ok, reason } = JSON.parse(answer.body) as ProbeAnswer;
      assert.deepEqual([ok, reason], [!reset, reset ? 'PEER_RESET' : undefined]);
    }
  } finally {
    outside.close();
  }
});

test('the probe says when a pod is not served here, and refuses nonsense', async () => {
  const unknown = await mesh.post('/ambient/probe', { source: 'x', destination: '127.43.0.3:80' });
  assert.equal((JSON.parse(unknown.body) as { served: boolean }).served, false);
  assert.equal((await mesh.post('/ambient/probe', { source: 'x' })).status, 400);
  assert.equal((await mesh.get('/ambient/probe')).status, 405);
});

test('Z17: a peer of an unknown CA is refused before any byte', async () => {
  const strangers = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const other = await startMesh({ ca: strangers });
  const stranger = at(52);
  other.apply({ workloads: [testWorkload('server', server)] });
  await other.enrol(testWorkload('client', stranger));
  const before = echo.received();
  const call = await callFrom(stranger, server);
  call.socket.write('let me in');
  assert.equal(await call.ended, 'ECONNRESET');
  assert.equal(echo.received(), before);
  const [record] = await other.records();
  assert.equal(record?.reason, 'PEER_UNTRUSTED');
  await other.stop();
});

test('the config dump has Istio’s keys, no key material, and the certificates', async () => {
  const { body } = await mesh.get('/config_dump');
  const dump = JSON.parse(body) as Record<string, { identity?: string; state?: string }[]>;
  for (const key of ['workloads', 'services', 'policies', 'certificates', 'workloadState']) {
    assert.ok(dump[key], key);
  }
  const cert = dump['certificates']?.find((c) => c.identity?.endsWith('/sa/server'));
  assert.equal(cert?.state, 'Available');
  assert.ok(!body.includes('PRIVATE KEY'));
});

test('the log level can be changed and reset', async () => {
  assert.match((await mesh.post('/logging?level=warn')).body, /^current log level is warn/);
  assert.match((await mesh.post('/logging?reset')).body, /^current log level is debug/);
  assert.equal((await mesh.post('/logging?level=loud')).status, 400);
});
