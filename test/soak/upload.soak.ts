// One upload through a waypoint; caller, waypoint and server in this process: every byte arrives, and memory does not grow
// with it (issue 5, "Must hold"). UPLOAD_GB says how many; default 1. With the young generation that a waypoint is given
// (`npm run test:soak`): V8 would else keep pages that it does not use.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { L7PortProtocol } from '../../core/proto/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const gigabytes = Number(process.env['UPLOAD_GB'] ?? '1');
const total = gigabytes * 1e9;
const chunk = Buffer.alloc(1 << 20, 'x');
/** Caller, waypoint and server are this one process: what it holds beyond is bounded all the same. */
const mostGrowth = 64 << 20;

const at = await claimBlock();
const vip = at(100);
let w: TestWaypoint;
let server: http.Server;
let received = 0;

before(async () => {
  server = http.createServer((req, res) => {
    req.on('data', (data: Buffer) => (received += data.length));
    req.on('end', () => res.end('done'));
  });
  await new Promise<void>((resolve) => server.listen(0, at(10), resolve));
  w = await startTestWaypoint(at(1));
  w.service('web', vip, 80, [`${at(10)}:${(server.address() as AddressInfo).port}`]);
  w.configure('web', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
});
after(async () => {
  await w.stop();
  server.close();
  server.closeAllConnections();
});

test(`an upload of ${gigabytes} GB: counted, and memory stays where it is`, async (t) => {
  const stream = await w.connect(`${vip}:80`);
  let answer = '';
  stream.on('data', (data: Buffer) => (answer += data.toString()));
  stream.write(`POST / HTTP/1.1\r\nhost: web\r\ncontent-length: ${total}\r\n\r\n`);
  const began = performance.now();
  let before = 0;
  let most = 0;
  for (let sent = 0; sent < total; ) {
    const part = chunk.subarray(0, Math.min(chunk.length, total - sent));
    sent += part.length;
    if (!stream.write(part)) await once(stream, 'drain');
    const { rss } = process.memoryUsage();
    // What a first part needs is there once it has gone through.
    if (sent > total / 10 && before === 0) before = rss;
    most = Math.max(most, rss);
  }
  while (!answer.includes('done')) await once(stream, 'data');
  stream.destroy();
  const seconds = (performance.now() - began) / 1000;
  const mb = (n: number): number => Math.round(n / 1e6);
  t.diagnostic(
    `${mb(received)} MB in ${seconds.toFixed(1)} s, RSS ${mb(before)} MB after a tenth, ${mb(most)} MB at most`,
  );
  assert.equal(received, total);
  assert.ok(most - before < mostGrowth, `grew by ${mb(most - before)} MB`);
});
