// What one pod or one tunnel may take, and that the others go on; clients that ask by SOCKS5.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const other = at(4);
const one = at(5);
const two = at(6);
const vip = at(101);
let mesh: TestMesh;
let echoes: EchoApp[];

before(async () => {
  mesh = await startMesh({
    env: {
      POOL_MAX_STREAMS_PER_CONNECTION: '2',
      MAX_CONNECTIONS_PER_POD: '10',
      UNSTABLE_ENABLE_SOCKS5: 'true',
    },
  });
  echoes = [await startEcho(one), await startEcho(two)];
  mesh.apply({ services: [testService('pair', vip, 80, 8080)] });
  await mesh.enrol(
    testWorkload('client', client),
    testWorkload('other', other),
    testWorkload('one', one, { services: backs('pair') }),
    testWorkload('two', two, { services: backs('pair') }),
  );
});
after(async () => {
  await mesh.stop();
  for (const e of echoes) await e.stop();
});

const openEcho = async (from: string, to = one) => {
  const call = await callFrom(from, to);
  call.socket.write('x');
  await eventually(() => call.text() === 'x', 'the echo');
  return call;
};

test('Z9: more than the stream limit of one tunnel opens another, and all succeed', async () => {
  const calls = await Promise.all(Array.from({ length: 5 }, () => openEcho(client)));
  for (const c of calls) c.socket.end();
  await Promise.all(calls.map((c) => c.ended));
  const locals = new Set(
    (await mesh.records()).filter((r) => r.direction === 'inbound').map((r) => r.source.addr),
  );
  assert.equal(locals.size, 3);
});

test('Z4: connections to a service reach every endpoint', async () => {
  for (let i = 0; i < 50 && !echoes.every((e) => e.seen.length > 0); i++) {
    const call = await callFrom(client, vip, 80);
    call.socket.end('x');
    assert.equal(await call.ended, 'end');
  }
  assert.ok(echoes.every((e) => e.seen.length > 0));
});

test('N7: a pod at its limit is refused, another pod is not', async () => {
  const held: net.Socket[] = [];
  for (let i = 0; i < 20; i++) {
    held.push(
      await new Promise((resolve) => {
        const socket = net.connect({ host: client, port: 15001, localAddress: client });
        socket.on('error', () => {});
        socket.once('connect', () => resolve(socket));
      }),
    );
  }
  // The reset may arrive before or after the client has noticed that it is connected.
  const refused = await callFrom(client, one).then(
    (call) => call.ended,
    (error: NodeJS.ErrnoException) => error.code,
  );
  assert.equal(refused, 'ECONNRESET');
  const reason = { reporter: 'source', reason: 'STREAM_LIMIT' };
  assert.ok((await mesh.metrics.value('ambient_refusals_total', reason)) >= 1);
  const free = await openEcho(other);
  free.socket.destroy();
  for (const s of held) s.destroy();
});

/** A SOCKS5 client that goes byte by byte; the reply code and what came after it. */
function socks(
  request: Buffer,
  { payload = 'hello', greeting = [5, 1, 0], end = false } = {},
): Promise<{ code: number; text: string }> {
  return new Promise((resolve) => {
    const socket = net.connect({
      host: other,
      port: 15080,
      localAddress: other,
      allowHalfOpen: true,
    });
    let got: Buffer = Buffer.alloc(0);
    let sent = false;
    // The method chosen takes two bytes, where one was.
    const method = request.length > 0 ? 2 : 0;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      const reply = got.subarray(method);
      if (!sent && reply.length >= 10 && reply[1] === 0) {
        sent = true;
        socket.end(payload);
      }
    });
    socket.on('close', () =>
      resolve({
        code: got[method + 1] ?? -1,
        text: got.subarray(method + 10).toString('latin1'),
      }),
    );
    for (const byte of Buffer.concat([Buffer.from(greeting), request])) {
      socket.write(Buffer.from([byte]));
    }
    if (end) socket.end();
  });
}
const port = Buffer.from([0x1f, 0x90]);

test('3.9: SOCKS5 by address and by name, through the tunnel as the pod', async () => {
  const address = Buffer.from([5, 1, 0, 1, ...one.split('.').map(Number), ...port]);
  assert.deepEqual(await socks(address), { code: 0, text: 'hello' });
  const name = Buffer.from('pair.shop.svc.cluster.local');
  const byName = Buffer.concat([
    Buffer.from([5, 1, 0, 3, name.length]),
    name,
    Buffer.from([0, 80]),
  ]);
  assert.deepEqual(await socks(byName), { code: 0, text: 'hello' });
  const inbound = (await mesh.records()).find((r) => r.direction === 'inbound');
  assert.equal(inbound?.source.identity, 'spiffe://cluster.local/ns/shop/sa/other');
});

const nobody = Buffer.from('nobody.example');
const socksRows: [string, Parameters<typeof socks>, number][] = [
  ['a name nobody has', [Buffer.from([5, 1, 0, 3, nobody.length, ...nobody, ...port])], 4],
  ['BIND', [Buffer.from([5, 2, 0, 1, 127, 0, 0, 1, 0, 80])], 7],
  ['UDP ASSOCIATE', [Buffer.from([5, 3, 0, 1, 127, 0, 0, 1, 0, 80])], 7],
  ['an unknown address type', [Buffer.from([5, 1, 0, 9, 0, 0])], 7],
  ['port 0', [Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, 0, 0])], 7],
  ['version 4', [Buffer.alloc(0), { greeting: [4, 1] }], 7],
  ['no method without authentication', [Buffer.alloc(0), { greeting: [5, 1, 2] }], 7],
  ['a request that ends in its middle', [Buffer.from([5, 1, 0, 1, 127]), { end: true }], 1],
];
for (const [name, [request, how], code] of socksRows) {
  test(`3.9: SOCKS5, ${name}: reply ${code}`, async () => {
    assert.equal((await socks(request, how)).code, code);
  });
}
