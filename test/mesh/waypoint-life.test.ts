// Ends in the middle of things: upstream connections that rest and end, endpoints that never answer, a waypoint that
// drains. Real mutual TLS on the caller's side, real sockets on the other.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { L7PortProtocol } from '../../core/proto/index.ts';
import { Acceptors, CertManager, localCaClient } from '../../certs/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { serveHbone } from '../../core/hbone/index.ts';
import { printIdentity } from '../../core/model/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { backs, testWorkload } from '../kit/mesh.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { cluster, startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const app = at(10);
const vip = (n: number): string => at(100 + n);
const stops: (() => void)[] = [];
let w: TestWaypoint;

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: web\r\n\r\n`;
const ok = (body: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const answers = (n: number) => (text: string) => text.split('HTTP/1.1 ').length > n;

/** An application in raw bytes: `serve` gets a socket and the request lines that came on it. */
async function rawApp(
  name: string,
  n: number,
  serve: (s: net.Socket, path: string) => void,
): Promise<{ opened(): number; sockets: net.Socket[] }> {
  const sockets: net.Socket[] = [];
  const server = net.createServer((s) => {
    sockets.push(s);
    s.on('error', () => {});
    s.on('data', (chunk: Buffer) => {
      for (const [, path = ''] of chunk.toString().matchAll(/^[A-Z]+ (\S+) HTTP/gm)) serve(s, path);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, app, resolve));
  stops.push(() => {
    server.close();
    for (const s of sockets) s.destroy();
  });
  w.service(name, vip(n), 80, [`${app}:${(server.address() as net.AddressInfo).port}`]);
  w.configure(name, { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
  return { opened: () => sockets.length, sockets };
}

before(async () => {
  w = await startTestWaypoint(at(1));
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

describe('a kept connection to an endpoint', () => {
  test('that the endpoint ended while it rested is not used again', async () => {
    const a = await rawApp('rest', 1, (s, path) => void s.write(ok(path)));
    assert.match(await w.exchange(`${vip(1)}:80`, get('/1'), answers(1)), /\/1$/);
    const [first] = a.sockets;
    // Closed in order, as a server does with connections that rest: what comes later is answered by a reset that
    // nobody reads for.
    first?.end();
    await eventually(() => first?.destroyed, 'its end');
    assert.match(await w.exchange(`${vip(1)}:80`, get('/2'), answers(1)), /\/2$/);
    assert.equal(a.opened(), 2);
  });

  test('on which bytes came that nobody asked for is not used again', async () => {
    const a = await rawApp('chatty', 2, (s, path) => void s.write(ok(path)));
    await w.exchange(`${vip(2)}:80`, get('/1'), answers(1));
    a.sockets[0]?.write(ok('forged'));
    await eventually(() => a.sockets[0]?.destroyed, 'its end');
    assert.match(await w.exchange(`${vip(2)}:80`, get('/2'), answers(1)), /\/2$/);
  });

  test('is used again otherwise', async () => {
    const a = await rawApp('kept', 3, (s, path) => void s.write(ok(path)));
    await w.exchange(`${vip(3)}:80`, get('/1'), answers(1));
    await w.exchange(`${vip(3)}:80`, get('/2'), answers(1));
    assert.equal(a.opened(), 1);
  });
});

describe('an endpoint whose node proxy takes the tunnel and never answers', () => {
  test('costs the connect timeout, then another is taken', async () => {
    const a = await rawApp('mute', 4, (s, path) => void s.write(ok(path)));
    const clock = systemClock;
    const certs = new CertManager({
      ca: localCaClient(w.ca),
      clock,
      random: systemRandom,
      log: silentLog,
    });
    const [trustDomain, namespace] = ['cluster.local', 'shop'];
    const identity = printIdentity({ trustDomain, namespace, serviceAccount: 'mute-hbone' });
    const acceptors = new Acceptors(certs, clock, { clock, aliases: [] });
    let asked = 0;
    const proxy = net.createServer((socket) => {
      socket.on('error', () => {});
      stops.push(() => socket.destroy());
      void acceptors
        .accept(identity, socket)
        .then(({ stream }) =>
          serveHbone(stream, { clock, log: silentLog, onConnect: () => void asked++ }),
        );
    });
    await new Promise<void>((resolve) => proxy.listen(15008, at(12), resolve));
    stops.push(() => {
      proxy.close();
      certs.stop();
    });
    const workload = testWorkload('mute-hbone', at(12), { services: backs('mute') });
    const [key] = workload.services.keys();
    assert.ok(key);
    w.feed.apply({ workloads: [{ ...workload, services: new Map([[key, new Map([[80, 80]])]]) }] });
    w.configure('mute', {
      ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
      clusters: [cluster('mute', { connectTimeoutMs: 50 })],
    });
    for (let i = 0; i < 20 && asked === 0; i++) {
      const text = await w.exchange(`${vip(4)}:80`, get(`/${i}`), answers(1));
      assert.match(text, /^HTTP\/1\.1 200/);
    }
    assert.ok(asked > 0, 'the silent endpoint was never asked');
    assert.ok(a.opened() > 0);
  });
});

describe('a drain', () => {
  test('answers what runs and says close; ends in order what rests; then nothing is left', async () => {
    const own = await startTestWaypoint(at(2));
    let release: (() => void) | undefined;
    const server = net.createServer((s) => {
      s.on('error', () => {});
      s.on('data', (c: Buffer) => {
        if (c.toString().includes('/slow')) release = () => void s.write(ok('slow'));
        else s.write(ok('quick'));
      });
      stops.push(() => s.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, app, resolve));
    stops.push(() => server.close());
    own.service('web', vip(9), 80, [`${app}:${(server.address() as net.AddressInfo).port}`]);
    own.configure('web', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
    const read = async (path: string) => {
      const stream = await own.connect(`${vip(9)}:80`);
      const got = { text: '', ended: false, stream };
      stream.on('data', (c: Buffer) => (got.text += c.toString()));
      stream.on('end', () => {
        got.ended = true;
        stream.end();
      });
      stream.write(get(path));
      return got;
    };
    const rests = await read('/quick');
    await eventually(() => rests.text.endsWith('quick'), 'an answer');
    const runs = await read('/slow');
    const answer = await eventually(() => release, 'the request');
    const stopped = own.waypoint.stop({ graceMs: 4_000 });
    await eventually(() => rests.ended, 'the end of what rests');
    assert.equal(runs.text, '');
    answer();
    await eventually(() => runs.ended, 'the end of what ran');
    assert.match(runs.text, /^HTTP\/1\.1 200[\s\S]*connection: close[\s\S]*slow$/i);
    await stopped;
    await own.stop();
  });
});
