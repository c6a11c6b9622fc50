// Two pods of one node talk through their proxies: real sockets, real mutual TLS, real HTTP/2.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
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

test('Z1: an echo travels through mutual TLS and both ends record it under one trace', async () => {
  const call = await callFrom(client, server);
  call.socket.write('ping');
  await eventually(() => call.text() === 'ping', 'the echo');
  assert.equal(echo.seen.at(-1), client);
  call.socket.end();
  assert.equal(await call.ended, 'end');
  const { outbound, inbound } = await mesh.bothEnds();
  assert.equal(outbound.protocol, 'HBONE');
  assert.equal(outbound.tls?.version, 'TLSv1.3');
  assert.equal(outbound.peer?.id, 'spiffe://cluster.local/ns/shop/sa/server');
  assert.equal(inbound.peer?.id, 'spiffe://cluster.local/ns/shop/sa/client');
  assert.equal(outbound.peer?.serial, inbound.local?.serial);
  assert.equal(outbound.state, 'ok');
  assert.equal(inbound.bytesReceived, 4);
});
