// Rows of ztunnel-protocol.md 3.1, 4.1 and 4.3: who may enter a pod's proxy at 15001, 15008 and 15006, and what
// is known of them. 4.2 and 3.3 are decided by plans: ztunnel/decision-tree.test.ts.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { bundleOf, connectTls, createCsr } from '../../certs/index.ts';
import { emptyMatch, type SpiffeId } from '../../core/model/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import type { ConnectionRecord } from '../../ztunnel/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testPolicy, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const outside = at(66);
const id = (account: string): SpiffeId =>
  `spiffe://cluster.local/ns/shop/sa/${account}` as SpiffeId;
let mesh: TestMesh;
let echo: EchoApp;

before(async () => {
  mesh = await startMesh();
  echo = await startEcho(server);
  await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
});
after(async () => {
  await mesh.stop();
  await echo.stop();
});

/** The newest record of a direction, once `work` has left one. */
async function recordOf(
  direction: 'inbound' | 'outbound',
  work: () => Promise<unknown>,
): Promise<ConnectionRecord> {
  const all = async () => (await mesh.records()).filter((r) => r.direction === direction);
  const before = (await all()).length;
  await work();
  return eventually(async () => {
    const now = await all();
    return now.length > before && now[0];
  }, `a record, ${direction}`);
}
const opened = (labels: Record<string, string>): Promise<number> =>
  mesh.metrics.value('istio_tcp_connections_opened_total', labels);

test('3.1.1: the source is the peer of the socket, not what the header says', async () => {
  const socket = net.connect({ host: client, port: 15001, localAddress: client });
  const header = Buffer.from(
    `0d0a0d0a000d0a515549540a2111000c${hex('127.9.9.9')}${hex(server)}c3501f90`,
    'hex',
  );
  let own: number | undefined;
  const { source } = await recordOf('outbound', async () => {
    socket.write(Buffer.concat([header, Buffer.from('x')]));
    await new Promise((resolve) => socket.once('data', resolve));
    own = socket.localPort;
    socket.end();
  });
  assert.equal(source.addr, `${client}:${own}`);
});

test('3.1.4: the identity is the pod’s whose listener was met, whatever the address it comes from', async () => {
  const call = await new Promise<net.Socket>((resolve, reject) => {
    const socket = net.connect({ host: client, port: 15001, localAddress: outside }, () =>
      resolve(socket),
    );
    socket.on('error', reject);
  });
  const { source } = await recordOf('outbound', async () => {
    call.write(
      Buffer.from(`0d0a0d0a000d0a515549540a2111000c${hex(outside)}${hex(server)}c3501f90`, 'hex'),
    );
    call.write('x');
    await new Promise((resolve) => call.once('data', resolve));
    call.end();
  });
  assert.equal(source.identity, id('client'));
});

test('4.1.1 4.1.4: address, peer identity and own address of a tunnel are its connections’ facts', async () => {
  const { source, destination } = await recordOf('inbound', async () => {
    const call = await callFrom(client, server);
    call.socket.end('x');
    await call.ended;
  });
  assert.equal(source.addr.split(':')[0], client);
  assert.equal(source.identity, id('client'));
  assert.equal(destination.addr, `${server}:15008`);
  assert.equal(destination.identity, id('server'));
});

test('4.1.3: a handshake that fails is refused early: a line, and no connection counted', async () => {
  const before = await opened({ reporter: 'destination' });
  const { reason } = await recordOf('inbound', async () => {
    const socket = net.connect({ host: server, port: 15008, localAddress: outside });
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
  });
  assert.equal(reason, 'TLS_HANDSHAKE');
  assert.equal(await opened({ reporter: 'destination' }), before);
  assert.ok(mesh.lines.some((line) => line.includes('warn') && line.includes('TLS_HANDSHAKE')));
});

test('4.1.5: each CONNECT of a tunnel is judged by itself, all at once', async () => {
  const { csr, keyPem } = await createCsr(id('many'));
  const { chain } = await mesh.ca.signWorkload({ csr, identity: id('many'), ttlSeconds: 600 });
  const roots = bundleOf([mesh.ca.material.rootPem]);
  const cert = { id: id('many'), keyPem, chain, roots, serial: '', notBeforeMs: 0, notAfterMs: 0 };
  const socket = net.connect({ host: server, port: 15008, localAddress: outside });
  const { stream } = await connectTls(socket, cert, [id('server')], { clock: systemClock });
  const h2 = http2.connect('http://x', { createConnection: () => stream as never });
  const ask = (method: string, authority: string) => {
    const request = h2.request({ ':method': method, ':authority': authority });
    request.on('error', () => {});
    const status = new Promise((resolve) =>
      request.once('response', (headers) => resolve(headers[':status'])),
    );
    return { request, status };
  };
  const waiting = ask('CONNECT', `${server}:8080`);
  assert.equal(await waiting.status, 200);
  const others = [
    ask('CONNECT', `${server}:15008`),
    ask('CONNECT', 'nonsense'),
    ask('CONNECT', `${server}:8080`),
    ask('CONNECT', `${server}:81`),
  ];
  assert.deepEqual(await Promise.all(others.map((o) => o.status)), [503, 400, 200, 503]);
  const echoed = new Promise((resolve) => waiting.request.once('data', resolve));
  waiting.request.write('still here');
  assert.equal(String(await echoed), 'still here');
  h2.destroy();
});

test('4.3.1: a plaintext connection for one of the proxy’s own ports is dropped early', async () => {
  for (const port of [15001, 15006, 15008]) {
    const before = await opened({ reporter: 'destination' });
    const { reason } = await recordOf('inbound', async () => {
      const call = await callFrom(outside, server, port, { ip: server, port: 15006 });
      assert.equal(await call.ended, 'ECONNRESET');
    });
    assert.equal(reason, 'RECURSIVE_CALL');
    assert.equal(await opened({ reporter: 'destination' }), before);
  }
});

test('4.3.3: the caller has no identity; its workload is known by address, for telemetry alone', async () => {
  const { source } = await recordOf('inbound', async () => {
    const call = await callFrom(client, server, 8080, { ip: server, port: 15006 });
    call.socket.end('x');
    await call.ended;
  });
  assert.equal(source.identity, undefined);
  assert.equal(source.workload, 'client');
});

test('4.3.4: policy judges without an identity; denied is a reset with flag DENY', async () => {
  const anyone = testPolicy('any-identity', {
    action: 'Deny',
    scope: 'Namespace',
    rules: [[[{ ...emptyMatch, principals: { any: [], none: [{ kind: 'presence' }] } }]]],
  });
  mesh.apply({ policies: [anyone] });
  const denied = { reporter: 'destination', response_flags: 'DENY' };
  const call = await callFrom(client, server, 8080, { ip: server, port: 15006 });
  assert.equal(await call.ended, 'ECONNRESET');
  await eventually(
    async () => (await mesh.metrics.value('istio_tcp_connections_closed_total', denied)) === 1,
    'the flag',
  );
  const tunnelled = await callFrom(client, server);
  tunnelled.socket.end('x');
  assert.equal(await tunnelled.ended, 'end');
  mesh.apply({ removed: { policies: [anyone.key] } });
});

test('4.3.5: the app sees the caller’s address; the security policy of it is unknown', async () => {
  const labels = {
    reporter: 'destination',
    connection_security_policy: 'unknown',
    source_workload: 'unknown',
  };
  const before = await opened(labels);
  const call = await callFrom(outside, server, 8080, { ip: server, port: 15006 });
  call.socket.end('x');
  assert.equal(await call.ended, 'end');
  assert.equal(echo.seen.at(-1), outside);
  assert.equal(await opened(labels), before + 1);
});

function hex(ip: string): string {
  return Buffer.from(ip.split('.').map(Number)).toString('hex');
}
