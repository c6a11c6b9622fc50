// Connections to applications at their edges: asked for and given up, answered too early, taken over by another protocol,
// more wanted than there may be (waypoint-l7.md 3.5, 5.3, 8.4, 8.9). Real sockets on both sides.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { L7PathKind, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { cluster, startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = (n: number): string => at(100 + n);
const stops: (() => void)[] = [];
let w: TestWaypoint;

interface App {
  readonly place: string;
  /** Connections now, and at most. */
  readonly open: Set<net.Socket>;
  most: number;
}

/** An application at an address of its own. */
async function app(n: number, server: net.Server): Promise<App> {
  const open = new Set<net.Socket>();
  const ip = at(10 + n);
  server.on('connection', (socket) => {
    open.add(socket);
    it.most = Math.max(it.most, open.size);
    socket.on('error', () => {});
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, ip, resolve));
  stops.push(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  const it: App = { place: `${ip}:${(server.address() as net.AddressInfo).port}`, open, most: 0 };
  return it;
}
/** Answers the first bytes of a connection with these. */
const answers = (text: string): net.Server =>
  net.createServer((socket) => void socket.once('data', () => socket.write(text)));

const plain: Draft<wire.L7PortConfig> = { port: 80, protocol: L7PortProtocol.HTTP };
const ruled = (
  name: string,
  rule: Draft<wire.L7RouteRule>,
  protocol: number = L7PortProtocol.HTTP,
): Draft<wire.L7PortConfig> => ({
  ...plain,
  routes: {
    rules: [
      {
        route: 'shop/r',
        name: 'r',
        backends: [
          {
            namespace: 'shop',
            hostname: `${name}.shop.svc.cluster.local`,
            port: 80,
            weight: 1,
            protocol,
          },
        ],
        ...rule,
      },
    ],
    entries: [{ match: { pathKind: L7PathKind.PREFIX, path: '' }, rule: 0 }],
  },
});
const get = 'GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n';
const ask = (n: number, text = get, until?: (got: string) => boolean): Promise<string> =>
  w.exchange(`${vip(n)}:80`, text, until);
const status = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);

interface Running {
  readonly breaker: Readonly<Record<string, number>>;
  readonly active: Readonly<Record<string, number>>;
}
async function running(name: string): Promise<Running> {
  const { host, port } = w.waypoint.addresses.admin;
  const all = (await (await fetch(`http://${host}:${port}/config_dump`)).json()) as {
    clusters: (Running & { cluster: string })[];
  };
  const found = all.clusters.find((c) => c.cluster.includes(`/${name}.`));
  assert.ok(found);
  return found;
}
/** Nothing runs any more, and nothing is counted as if it did. */
const atRest = (name: string): Promise<unknown> =>
  eventually(async () => {
    const { breaker, active } = await running(name);
    return (
      breaker['requests'] === 0 && breaker['pending'] === 0 && Object.keys(active).length === 0
    );
  }, `${name} at rest`);

before(async () => {
  w = await startTestWaypoint(at(1));
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

for (const [n, name, protocol] of [
  [1, 'deaf', L7PortProtocol.HTTP],
  [2, 'deaf-h2', L7PortProtocol.HTTP2],
] as const) {
  test(`${name}: a route's time limit does not wait for a connection that is not made`, async () => {
    const deaf = await app(n, net.createServer());
    w.service(name, vip(n), 80, [deaf.place]);
    const clusters = [cluster(name, { tls: { sni: 'web' }, connectTimeoutMs: 3_600_000 })];
    w.configure(name, { ports: [ruled(name, { requestTimeoutMs: 100 }, protocol)], clusters });
    const text = await ask(n);
    assert.equal(status(text), 504);
    assert.equal(deaf.open.size, 1, 'the handshake still waits');
    await atRest(name);
  });
}

test('an upgraded connection counts as long as it lasts', async () => {
  const upgraded = answers(
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello',
  );
  w.service('socket', vip(3), 80, [(await app(3, upgraded)).place]);
  w.configure('socket', { ports: [plain] });
  const upgrade =
    'GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
  const during = ask(3, upgrade, (got) => got.endsWith('hello'));
  assert.equal(status(await during), 101);
  await atRest('socket');
});

test('101 that nobody asked for is a broken answer, and its connection ends', async () => {
  const odd = answers(
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n',
  );
  const it = await app(4, odd);
  w.service('odd', vip(4), 80, [it.place]);
  w.configure('odd', { ports: [plain] });
  assert.equal(status(await ask(4)), 502);
  await atRest('odd');
  await eventually(() => it.open.size === 0, 'no connection');
});

const refusal = 'HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno';
const half = 'POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10000\r\n\r\nabc';
test('an answer before the end of the request: the connection is not kept half-used', async () => {
  const it = await app(5, answers(refusal));
  w.service('early', vip(5), 80, [it.place]);
  w.configure('early', { ports: [plain] });
  assert.equal(status(await ask(5, half, (got) => got.endsWith('no'))), 401);
  await atRest('early');
  await eventually(() => it.open.size === 0, 'no connection');
});

test('a caller that leaves before its end: neither the request nor its copy stays half-sent', async () => {
  const all = [await app(8, net.createServer()), await app(9, answers(refusal))];
  w.service('left', vip(8), 80, [all[0]?.place ?? '']);
  w.service('copied', vip(9), 80, [all[1]?.place ?? '']);
  const backend = { namespace: 'shop', hostname: 'copied.shop.svc.cluster.local', port: 80 };
  const filters = { mirrors: [{ backend, numerator: 1, denominator: 1 }] };
  w.configure('left', { ports: [ruled('left', { filters })] });
  const stream = await w.connect(`${vip(8)}:80`);
  stream.write(half);
  await eventually(() => all.every((a) => a.open.size === 1), 'both');
  stream.destroy();
  await atRest('left');
  await eventually(() => all.every((a) => a.open.size === 0), 'no connection');
});

test('a connection on which a request waits in silence is not idle', async () => {
  const silent: { end(text: string): unknown }[] = [];
  const server = http2.createServer((req, res) =>
    req.url === '/silent' ? void silent.push(res) : void res.end('ok'),
  );
  const it = await app(10, server);
  w.service('silent', vip(10), 80, [it.place]);
  const clusters = [cluster('silent', { idleTimeoutMs: 1 })];
  w.configure('silent', { ports: [ruled('silent', {}, L7PortProtocol.HTTP2)], clusters });
  const first = ask(10, get.replace('/', '/silent'));
  await eventually(() => silent.length === 1, 'the first request');
  for (let i = 0; i < 5; i++) assert.equal(status(await ask(10)), 200);
  assert.equal(it.most, 1);
  silent[0]?.end('ok');
  assert.equal(status(await first), 200);
  await atRest('silent');
});

const waiting: { end(text: string): unknown }[] = [];
for (const [n, name, protocol, server, traffic] of [
  [6, 'few', L7PortProtocol.HTTP, http.createServer((_q, res) => void waiting.push(res)), {}],
  [
    7,
    'few-h2',
    L7PortProtocol.HTTP2,
    http2.createServer((_q, res) => void waiting.push(res)),
    { maxConcurrentStreams: 1 },
  ],
] as const) {
  test(`${name}: maxConnections holds while connections are being made`, async () => {
    const it = await app(n, server);
    w.service(name, vip(n), 80, [it.place]);
    const clusters = [cluster(name, { maxConnections: 1, ...traffic })];
    w.configure(name, { ports: [ruled(name, {}, protocol)], clusters });
    const all = [ask(n), ask(n), ask(n), ask(n)];
    for (const _ of all) {
      await eventually(() => waiting.length > 0, 'a request');
      assert.equal(waiting.length, 1);
      waiting.shift()?.end('ok');
    }
    assert.deepEqual((await Promise.all(all)).map(status), [200, 200, 200, 200]);
    assert.equal(it.most, 1);
  });
}
