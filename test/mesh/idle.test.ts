// Connections over which nothing goes: how long they are kept, and what they cost.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { createCa } from '../../certs/index.ts';
import { FakeClock } from '../../core/base/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { type AppConnection, callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const clock = new FakeClock(systemClock.now());
let mesh: TestMesh;
let echo: EchoApp;

before(async () => {
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  mesh = await startMesh({ clock, ca });
  echo = await startEcho(server);
  await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
});
after(async () => {
  await mesh.stop();
  await echo.stop();
});

const says = async (call: AppConnection, word: string): Promise<void> => {
  const had = call.text();
  call.socket.write(word);
  await eventually(() => call.text() === had + word, 'the echo');
};
const open = async (): Promise<AppConnection> => {
  const call = await callFrom(client, server);
  await says(call, 'x');
  return call;
};

test('R8 ninety idle connections wait on no timer of their own', async () => {
  const first = await open();
  const before = clock.waiting;
  const calls = await Promise.all(Array.from({ length: 90 }, open));
  assert.ok(clock.waiting <= before + 4, `${clock.waiting - before} timers for 90 connections`);
  for (const call of [first, ...calls]) call.socket.destroy();
  await eventually(() => echo.open.size === 0, 'all closed');
});

test('F24 idle for two hours: kept open, and PING alone goes over the tunnel', async () => {
  const quiet = await open();
  const half = await callFrom(client, server);
  half.socket.write('never read from here on');
  await eventually(() => echo.open.size === 2, 'the second connection');
  // A pair beside them paces the steps: what is on its way gets there before time goes on.
  const pacer = net.createServer((s) => s.pipe(s)).listen(0, '127.0.0.1');
  await once(pacer, 'listening');
  const beat = net.connect((pacer.address() as net.AddressInfo).port, '127.0.0.1');
  for (let i = 0; i < 800; i++) {
    clock.advance(9_000);
    beat.write('.');
    await once(beat, 'data');
    for (let turn = 0; turn < 4; turn++) await nextTurn();
  }
  await says(quiet, 'still here');
  assert.equal(echo.open.size, 2);
  const records = await mesh.records();
  assert.ok(!records.some((r) => r.reason !== undefined), JSON.stringify(records[0]));
  beat.destroy();
  pacer.close();
  for (const call of [quiet, half]) call.socket.destroy();
});
