// What a tunnel may not do to the connections in it: lose a half-close, hide a reset, let one reader stall the others,
// cut what is idle, or follow an endpoint that has gone (reliability-checklist.md 3, rows F22 to F25 and F36).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { type AppConnection, callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const other = at(4);
const vip = at(101);
const megabyte = 1 << 20;
let mesh: TestMesh;
const echoes: EchoApp[] = [];
const servers: net.Server[] = [];

/** An application of one's own at the server pod; its port. */
async function app(serve: (socket: net.Socket) => void): Promise<number> {
  const one = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {});
    serve(socket);
  });
  servers.push(one);
  one.listen(0, server);
  await once(one, 'listening');
  return (one.address() as net.AddressInfo).port;
}

before(async () => {
  mesh = await startMesh();
  for (const ip of [server, other]) echoes.push(await startEcho(ip));
  mesh.apply({ services: [testService('web', vip, 80, 8080)] });
  await mesh.enrol(
    testWorkload('client', client),
    testWorkload('server', server, { services: backs('web') }),
    testWorkload('other', other),
  );
});
after(async () => {
  await mesh.stop();
  for (const e of echoes) await e.stop();
  for (const s of servers) s.close();
});

test('F22 the server closes its side first: what the client says afterwards still arrives', async () => {
  const heard = Promise.withResolvers<string>();
  const port = await app((socket) => {
    socket.end('all I have');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('end', () => heard.resolve(text));
  });
  const call = await callFrom(client, server, port);
  call.socket.write('first ');
  assert.equal(await call.ended, 'end');
  assert.equal(call.text(), 'all I have');
  call.socket.end('and last');
  assert.equal(await heard.promise, 'first and last');
});

/** Sends until the way is full; how many bytes have left the application. */
async function fill(call: AppConnection): Promise<number> {
  const { socket } = call;
  const part = Buffer.alloc(64 * 1024, 'x');
  let drained = true;
  socket.on('drain', () => (drained = true));
  // Full = nothing drained while a megabyte went another way.
  for (let quiet = 0; quiet < 3; ) {
    if (drained) {
      quiet = 0;
      drained = socket.write(part);
    } else {
      await transfer(other, 8080, megabyte);
      quiet++;
    }
  }
  return socket.bytesWritten - socket.writableLength;
}

async function transfer(ip: string, port: number, bytes: number): Promise<void> {
  const call = await callFrom(client, ip, port);
  call.socket.end(Buffer.alloc(bytes, 'y'));
  assert.equal(await call.ended, 'end');
  assert.equal(call.text().length, bytes);
}

test('F23 an application that never reads holds its own sender back, within a bound, and nobody else', async () => {
  let held: net.Socket | undefined;
  const port = await app((socket) => {
    held = socket.pause();
  });
  const stuck = await callFrom(client, server, port);
  const taken = (): number => stuck.socket.bytesWritten - stuck.socket.writableLength;
  // Buffers of the kernel may still grow on a busy machine: filled again, until nothing is taken for so long.
  for (let sent = -1; sent !== taken(); ) {
    sent = await fill(stuck);
    // Windows of one stream and the buffers of the sockets on the way.
    assert.ok(sent < 16 * megabyte, `${sent} bytes were taken`);
    // The same tunnel, for the workload is the same.
    await transfer(server, 8080, 8 * megabyte);
  }
  const { outbound } = await mesh.bothEnds();
  assert.equal(outbound.reused, true);
  // Once it reads, all of it comes.
  let got = 0;
  held?.on('data', (chunk: Buffer) => (got += chunk.length));
  held?.on('end', () => held?.end('done'));
  held?.resume();
  stuck.socket.end();
  assert.equal(await stuck.ended, 'end');
  assert.equal(got, stuck.socket.bytesWritten - 28, 'all but the PROXY header');
});

test('F25 a reset in mid-transfer: told as a reset, bytes counted, one line at each end', async () => {
  const port = await app((socket) => {
    socket.once('data', () => socket.write('half of the ans', () => socket.resetAndDestroy()));
  });
  const before = mesh.lines.length;
  const call = await callFrom(client, server, port);
  call.socket.write('request');
  assert.equal(await call.ended, 'ECONNRESET');
  const { outbound, inbound } = await mesh.bothEnds();
  for (const record of [outbound, inbound]) {
    assert.equal(record.destination.hboneAddr, `${server}:${port}`);
    assert.equal(record.bytesReceived, 'request'.length);
    assert.notEqual(record.state, 'live');
  }
  const lines = mesh.lines
    .slice(before)
    .filter((l) => l.includes('connection complete') && l.includes(`:${port}`));
  assert.equal(lines.length, 2);
  assert.deepEqual(
    new Set(lines.map((l) => /direction="(\w+)"/.exec(l)?.[1])),
    new Set(['inbound', 'outbound']),
  );
});

test('F36 an endpoint that goes while it is used: its connections go on, new ones go elsewhere at once', async () => {
  const call = await callFrom(client, vip, 80);
  call.socket.write('a');
  await eventually(() => call.text() === 'a', 'the echo');
  mesh.apply({
    workloads: [
      testWorkload('server', server, { services: new Map() }),
      testWorkload('other', other, { services: backs('web') }),
    ],
  });
  const count = (e: EchoApp | undefined): number => e?.seen.length ?? 0;
  const [old, fresh] = [count(echoes[0]), count(echoes[1])];
  for (let i = 0; i < 5; i++) {
    const next = await callFrom(client, vip, 80);
    next.socket.end('x');
    assert.equal(await next.ended, 'end');
  }
  assert.deepEqual([count(echoes[0]) - old, count(echoes[1]) - fresh], [0, 5]);
  call.socket.end('b');
  assert.equal(await call.ended, 'end');
  assert.equal(call.text(), 'ab');
});
