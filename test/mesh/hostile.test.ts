// Hostile and broken peers at 15008 and 15001, while a canary keeps talking through the same process
// (reliability-checklist.md 0): the process lives, the neighbours do not notice.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { connectTls, createCa, createCsr, type WorkloadCert } from '../../certs/index.ts';
import { bundleOf, type CertificateAuthority } from '../../certs/index.ts';
import type { SpiffeId } from '../../core/model/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const web = 'spiffe://cluster.local/ns/shop/sa/server' as SpiffeId;
let mesh: TestMesh;
let echo: EchoApp;
let canary: Awaited<ReturnType<typeof callFrom>>;
const crashes: unknown[] = [];
const crashed = (error: unknown): void => void crashes.push(error);

before(async () => {
  process.on('uncaughtExceptionMonitor', crashed);
  mesh = await startMesh();
  echo = await startEcho(server);
  await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
  canary = await callFrom(client, server);
});
afterEach(async () => {
  const before = canary.text().length;
  canary.socket.write('tweet');
  await eventually(() => canary.text().length === before + 5, 'the canary');
  assert.deepEqual(crashes, []);
});
after(async () => {
  canary.socket.destroy();
  await mesh.stop();
  await echo.stop();
  process.off('uncaughtExceptionMonitor', crashed);
});

async function certOf(
  ca: CertificateAuthority,
  id: SpiffeId,
  roots: string,
): Promise<WorkloadCert> {
  const { csr, keyPem } = await createCsr(id);
  const { chain } = await ca.signWorkload({ csr, identity: id, ttlSeconds: 600 });
  return { id, keyPem, chain, roots: bundleOf([roots]), serial: '', notBeforeMs: 0, notAfterMs: 0 };
}

const attacker = 'spiffe://cluster.local/ns/shop/sa/attacker' as SpiffeId;
const dial = (from = at(66)): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: server, port: 15008, localAddress: from });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
  });
const closed = (socket: net.Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('close', () => resolve());
    socket.resume();
  });

/** A peer with a good certificate and an HTTP/2 session of its own. */
async function session(): Promise<http2.ClientHttp2Session> {
  const cert = await certOf(mesh.ca, attacker, mesh.ca.material.rootPem);
  const { stream } = await connectTls(await dial(), cert, [web], { clock: systemClock });
  const h2 = http2.connect('http://x', { createConnection: () => stream as never });
  h2.on('error', () => {});
  return h2;
}

function ask(
  h2: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
): Promise<{ status: number | undefined; reason: string | undefined }> {
  return new Promise((resolve) => {
    const stream = h2.request(headers, { endStream: headers[':method'] !== 'CONNECT' });
    stream.on('error', () => {});
    stream.on('response', (h) => {
      resolve({ status: h[':status'], reason: h['x-ambient-reason'] as string | undefined });
      stream.destroy();
    });
    stream.on('close', () => resolve({ status: undefined, reason: undefined }));
  });
}
const connect = (authority: string, more: http2.OutgoingHttpHeaders = {}) => ({
  ':method': 'CONNECT',
  ':authority': authority,
  ...more,
});

for (const [name, bytes] of [
  ['plain HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['random bytes', '\xa5'.repeat(5000)],
  ['HTTP/2 without TLS', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
] as const) {
  test(`T1: ${name} at 15008 is refused and counted`, async () => {
    const reason = { reporter: 'destination', reason: 'TLS_HANDSHAKE' };
    const before = await mesh.metrics.value('ambient_refusals_total', reason);
    const socket = await dial();
    const gone = closed(socket);
    socket.write(Buffer.from(bytes, 'latin1'));
    await gone;
    await eventually(
      async () => (await mesh.metrics.value('ambient_refusals_total', reason)) === before + 1,
      'the counter',
    );
  });
}

test('T11: many half-open handshakes do not stop a good one', async () => {
  const silent = await Promise.all(Array.from({ length: 100 }, () => dial(at(67))));
  const h2 = await session();
  assert.equal((await ask(h2, connect(`${server}:8080`))).status, 200);
  h2.destroy();
  for (const s of silent) s.destroy();
});

test('a foreign CA is refused before any byte, whoever it claims to be', async () => {
  const foreign = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const cert = await certOf(foreign, attacker, mesh.ca.material.rootPem);
  const before = echo.received();
  const socket = await dial();
  const gone = closed(socket);
  const { stream } = await connectTls(socket, cert, [web], { clock: systemClock });
  const h2 = http2.connect('http://x', { createConnection: () => stream as never });
  h2.on('error', () => {});
  const answer = await ask(h2, connect(`${server}:8080`));
  assert.equal(answer.status, undefined);
  await gone;
  assert.equal(echo.received(), before);
  h2.destroy();
});

test('C1–C5: requests that are not ours get their status and reason', async () => {
  const h2 = await session();
  const expect = async (headers: http2.OutgoingHttpHeaders, status: number, reason: string) =>
    assert.deepEqual(await ask(h2, headers), { status, reason });
  await expect({ ':method': 'GET', ':path': '/' }, 400, 'BAD_METHOD');
  await expect(connect(server), 400, 'BAD_AUTHORITY');
  await expect(connect(`${server}:0`), 400, 'BAD_AUTHORITY');
  await expect(connect(`${at(99)}:8080`), 400, 'ADDRESS_MISMATCH');
  await expect(connect('127.0.0.1:8080'), 400, 'ADDRESS_MISMATCH');
  await expect(connect(`${server}:15001`), 503, 'RECURSIVE_CALL');
  await expect(connect(`${server}:15008`), 503, 'RECURSIVE_CALL');
  await expect(connect('nobody.example:80'), 503, 'UNKNOWN_HOSTNAME');
  await expect(connect(`${server}:9`), 503, 'APP_UNREACHABLE');
  h2.destroy();
});

test('M26 by HBONE only the pod’s own ports are reached, not the proxy’s and nobody’s loopback', async () => {
  const { port } = mesh.ztunnel.addresses.admin;
  const h2 = await session();
  for (const host of ['127.0.0.1', '[::1]', 'localhost', '[::ffff:127.0.0.1]', '0.0.0.0']) {
    for (const p of [port, 15000, 15020, 15021]) {
      const { status } = await ask(h2, connect(`${host}:${p}`));
      assert.ok(status === 400 || status === 503, `${host}:${p}: ${status}`);
    }
  }
  // At the pod's address nobody serves them: they are the proxy's, on its own node.
  for (const p of [15000, 15020, 15021])
    assert.equal((await ask(h2, connect(`${server}:${p}`))).reason, 'APP_UNREACHABLE');
  for (const p of [15001, 15006, 15008, 15080])
    assert.equal((await ask(h2, connect(`${server}:${p}`))).reason, 'RECURSIVE_CALL');
  // An ordinary port of the address the tunnel arrived on, though it is a loopback address here.
  assert.equal((await ask(h2, connect(`${server}:8080`))).status, 200);
  h2.destroy();
});

test('C13 a tunnel inside a tunnel that leads back to the node ends at the second pass', async () => {
  // An application of ours that carries what it gets to the pod's own tunnel port: the way into a loop.
  const relay = net.createServer((socket) => {
    const on = net.connect({ host: server, port: 15008, localAddress: at(68) });
    for (const s of [socket, on]) s.on('error', () => {});
    socket.pipe(on).pipe(socket);
    socket.on('close', () => on.destroy());
    on.on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(8090, server, resolve));
  try {
    const outer = await session();
    // Straight back: refused at once.
    assert.equal((await ask(outer, connect(`${server}:15008`))).reason, 'RECURSIVE_CALL');
    const stream = outer.request(connect(`${server}:8090`), { endStream: false });
    await new Promise((resolve) => stream.once('response', resolve));
    const cert = await certOf(mesh.ca, attacker, mesh.ca.material.rootPem);
    const inner = await connectTls(stream, cert, [web], { clock: systemClock });
    const again = http2.connect('http://x', { createConnection: () => inner.stream as never });
    again.on('error', () => {});
    for (const p of [15001, 15006, 15008])
      assert.deepEqual(await ask(again, connect(`${server}:${p}`)), {
        status: 503,
        reason: 'RECURSIVE_CALL',
      });
    again.destroy();
    outer.destroy();
  } finally {
    relay.close();
  }
});

test('C11 C12: forged and broken headers change nothing', async () => {
  const h2 = await session();
  const headers = {
    baggage: `k8s.namespace.name=kube-system,service.name="${'x'.repeat(3000)}`,
    forwarded: 'for="127.45.0.2:1";host="unbalanced',
    'x-forwarded-client-cert': 'URI=spiffe://cluster.local/ns/shop/sa/client',
    traceparent: 'a'.repeat(55),
    __proto__: 'x',
  };
  assert.equal((await ask(h2, connect(`${server}:8080`, headers))).status, 200);
  const inbound = await eventually(async () => {
    const all = await mesh.records();
    return all.find((r) => r.direction === 'inbound' && r.source.addr.startsWith(at(66)));
  }, 'the record');
  assert.equal(inbound.source.identity, attacker);
  h2.destroy();
});

test('C10: streams that end or reset at once leave nothing behind', async () => {
  const h2 = await session();
  for (let i = 0; i < 50; i++) {
    const stream = h2.request(connect(`${server}:8080`), { endStream: false });
    stream.on('error', () => {});
    if (i % 2 === 0) stream.end();
    else stream.close(http2.constants.NGHTTP2_CANCEL);
  }
  await eventually(async () => {
    const { body } = await mesh.get('/ambient/connections?live');
    const live = JSON.parse(body) as { source: { addr: string } }[];
    return live.every((r) => !r.source.addr.startsWith(at(66)));
  }, 'all streams gone');
  h2.destroy();
});

test('C16: an app that aborts connections in quick succession keeps its shared tunnel', async () => {
  const { body } = await mesh.get('/config_dump');
  assert.ok(body.length > 0);
  for (let round = 0; round < 5; round++) {
    const calls = await Promise.all(Array.from({ length: 40 }, () => callFrom(client, server)));
    for (const call of calls) call.socket.write('x');
    await Promise.all(calls.map((c) => eventually(() => c.text() === 'x', 'an echo')));
    for (const call of calls) call.socket.resetAndDestroy();
  }
  const call = await callFrom(client, server);
  call.socket.end('after');
  assert.equal(await call.ended, 'end');
  const { outbound } = await mesh.bothEnds();
  assert.equal(outbound.reused, true);
});

test('N1: the admin port turns away pages of other sites and other hosts', async () => {
  const { host, port } = mesh.ztunnel.addresses.admin;
  const get = (headers: string): Promise<string> =>
    new Promise((resolve) => {
      let text = '';
      const socket = net.connect(port, host, () =>
        socket.end(`GET /config_dump HTTP/1.1\r\n${headers}\r\nConnection: close\r\n\r\n`),
      );
      socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      socket.on('close', () => resolve(text.split('\r\n')[0] ?? ''));
    });
  assert.match(await get(`Host: 127.0.0.1:${port}`), / 200 /);
  assert.match(await get('Host: evil.example'), / 403 /);
  assert.match(await get(`Host: 127.0.0.1:${port}\r\nOrigin: http://evil.example`), / 403 /);
});
