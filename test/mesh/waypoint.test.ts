// What a waypoint does with the bytes of a tunnel: protocols, hygiene, retries, limits, refusals. The caller
// comes in over real mutual TLS; applications are real servers.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { L7PathKind, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const app = at(10);
const vip = (n: number): string => at(100 + n);
const stops: (() => void)[] = [];
let w: TestWaypoint;

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}
const seen: Seen[] = [];
const mirrored: Seen[] = [];
let failures = 0;

function listen(server: net.Server, ip: string): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, ip, () => resolve((server.address() as net.AddressInfo).port));
  });
}

async function httpApp(log: Seen[]): Promise<number> {
  const server = http.createServer((req, res) => {
    let body = '';
    req.on('data', (c: Buffer) => (body += c.toString()));
    req.on('end', () => {
      log.push({ method: req.method ?? '', url: req.url ?? '', headers: req.headers, body });
      if (req.url === '/slow') return;
      if (req.url === '/flaky' && failures-- > 0) return void res.writeHead(503).end('later');
      if (req.url === '/reset') return void req.socket.destroy();
      res.writeHead(200, { 'x-app': '1', connection: 'keep-alive, x-hop', 'x-hop': '1' });
      res.end(`hello ${body}`);
    });
  });
  server.on('upgrade', (_req, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n',
    );
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  stops.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return listen(server, app);
}

async function grpcApp(): Promise<number> {
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (s) => void sessions.add(s));
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc' },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-last': 'yes' }));
    stream.pipe(stream);
  });
  stops.push(() => {
    for (const s of sessions) s.destroy();
    server.close();
  });
  return listen(server, app);
}

const rule = (more: Draft<wire.L7RouteRule>): Draft<wire.L7PortConfig> => ({
  port: 80,
  protocol: L7PortProtocol.HTTP,
  routes: {
    rules: [{ route: 'shop/r', name: 'r', ...more }],
    entries: [{ match: { pathKind: L7PathKind.PREFIX, path: '' }, rule: 0 }],
  },
});
const to = (name: string, more: Draft<wire.L7RouteBackend> = {}): Draft<wire.L7RouteBackend> => ({
  namespace: 'shop',
  hostname: `${name}.shop.svc.cluster.local`,
  port: 80,
  weight: 1,
  protocol: L7PortProtocol.HTTP,
  ...more,
});
const get = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${more}\r\n`;
const status = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);

before(async () => {
  w = await startTestWaypoint(at(1));
  const port = await httpApp(seen);
  const mirrorPort = await httpApp(mirrored);
  const grpcPort = await grpcApp();
  const greeter = net.createServer((s) => {
    s.on('error', () => {});
    s.write('220 ready\r\n');
    s.pipe(s);
  });
  const greetPort = await listen(greeter, app);
  stops.push(() => greeter.close());
  w.service('web', vip(1), 80, [`${app}:${port}`]);
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    forwardClientCert: true,
  });
  w.service('copy', vip(2), 80, [`${app}:${mirrorPort}`]);
  w.service('grpc', vip(3), 80, [`${app}:${grpcPort}`]);
  w.configure('grpc', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP2 }] });
  w.service('mail', vip(4), 80, [`${app}:${greetPort}`]);
  w.configure('mail', { ports: [{ port: 80, protocol: L7PortProtocol.DETECT }] });
  w.service('routed', vip(5), 80, [`${app}:${port}`]);
  // The first endpoint's port is closed.
  w.service('half', vip(6), 80, [`${at(11)}:1`, `${app}:${port}`]);
  w.configure('half', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
  w.service('empty', vip(7), 80, []);
  w.configure('empty', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

describe('HTTP/1.1', () => {
  test('who called comes from the tunnel, hop-by-hop names stay, the path has one form', async () => {
    const forged = 'x-forwarded-client-cert: URI=spiffe://evil\r\nkeep-alive: 5\r\nx-nom: 1\r\n';
    const text = await w.exchange(
      `${vip(1)}:80`,
      `GET /a/../b//c?q=/../ HTTP/1.1\r\nhost: web\r\nconnection: close, x-nom\r\n${forged}\r\n`,
    );
    assert.equal(status(text), 200);
    const last = seen.at(-1);
    assert.equal(last?.url, '/b//c?q=/../');
    assert.equal(
      last.headers['x-forwarded-client-cert'],
      'By=spiffe://cluster.local/ns/shop/sa/waypoint;URI=spiffe://cluster.local/ns/shop/sa/client',
    );
    assert.match(last.headers['x-request-id'] as string, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    assert.equal(last.headers['x-forwarded-proto'], 'http');
    assert.equal(last.headers['x-nom'], undefined);
    assert.equal(last.headers['keep-alive'], undefined);
    assert.match(text, /^server: istio-envoy/im);
    assert.doesNotMatch(text, /x-hop: /);
  });

  test('a body with either framing arrives, and connections are reused', async () => {
    const chunked =
      'POST /x HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
    const text = await w.exchange(`${vip(1)}:80`, chunked + get('/after'), (t) =>
      /hello abc[\s\S]*hello /.test(t),
    );
    assert.match(text, /hello abc/);
    assert.equal(seen.at(-2)?.body, 'abc');
  });

  test('HTTPRouteBackendProtocolWebSocket: 101, then bytes both ways', async () => {
    const ask =
      'GET /ws HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n';
    const text = await w.exchange(`${vip(1)}:80`, `${ask}ping-pong`, (t) =>
      t.includes('ping-pong'),
    );
    assert.equal(status(text), 101);
    assert.match(text, /ping-pong$/);
  });

  const rows: readonly (readonly [string, string, number])[] = [
    ['two Host lines', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', 400],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nhost: a\r\n\r\n', 426],
    [
      'length and coding',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'coding gzip, chunked',
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
      501,
    ],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc',
      400,
    ],
    ['length +5', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nabcde', 400],
    ['space before the colon', 'GET / HTTP/1.1\r\nhost : a\r\n\r\n', 400],
    ['folded line', 'GET / HTTP/1.1\r\nhost: a\r\n b: c\r\n\r\n', 400],
    ['bare LF', 'GET / HTTP/1.1\nhost: a\n\n', 400],
    ['NUL in the path', 'GET /%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
    ['asterisk', 'OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 404],
    ['https target', 'GET https://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 403],
    ['absolute target', 'GET http://a/abs HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n', 200],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n', 403],
    [
      'other upgrade',
      'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: foo\r\n\r\n',
      403,
    ],
    [
      'h2c is ignored',
      'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n',
      200,
    ],
    ['101 headers', `GET / HTTP/1.1\r\nhost: a\r\n${'a: b\r\n'.repeat(101)}\r\n`, 431],
    ['64 KiB of headers', `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(65_536)}\r\n\r\n`, 431],
  ];
  for (const [name, bytes, wanted] of rows) {
    test(`${name}: ${wanted}`, async () => {
      const text = await w.exchange(`${vip(1)}:80`, bytes, (t) => t.includes('\r\n\r\n'));
      assert.equal(status(text), wanted);
    });
  }
});

test('gRPC over HTTP/2: trailers both ways round, one message echoed', async () => {
  const stream = await w.connect(`${vip(3)}:80`);
  const session = http2.connect('http://grpc', { createConnection: () => stream });
  session.on('error', () => {});
  const call = session.request({
    ':method': 'POST',
    ':path': '/pkg.Svc/Do',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const trailers = new Promise<http2.IncomingHttpHeaders>((resolve) =>
    call.on('trailers', resolve),
  );
  let body = '';
  call.on('data', (c: Buffer) => (body += c.toString()));
  call.end('message');
  const got = await trailers;
  assert.equal(got['grpc-status'], '0');
  assert.equal(got['x-last'], 'yes');
  assert.equal(body, 'message');
  session.destroy();
});

test('an undeclared port: a server that speaks first is TCP, an HTTP caller is HTTP', async () => {
  const text = await w.exchange(`${vip(4)}:80`, '', (t) => t.includes('220 ready'));
  assert.equal(text, '220 ready\r\n');
});

describe('routes', () => {
  const ask = (port: Draft<wire.L7PortConfig>, bytes: string): Promise<string> => {
    w.configure('routed', { ports: [port] });
    return w.exchange(`${vip(5)}:80`, bytes);
  };

  test('timeouts.request: 504 upstream request timeout', async () => {
    const text = await ask(rule({ backends: [to('web')], requestTimeoutMs: 60 }), get('/slow'));
    assert.equal(status(text), 504);
    assert.match(text, /upstream request timeout$/);
  });

  test('timeouts.backendRequest with retry: tried again, then 504', async () => {
    const before = seen.length;
    const port = rule({
      backends: [to('web')],
      backendTimeoutMs: 60,
      retry: { attempts: 1, backoffMs: 1 },
    });
    const text = await ask(port, get('/slow'));
    assert.equal(status(text), 504);
    assert.equal(seen.length - before, 2);
  });

  test('retry codes: the body is sent again, the good answer wins', async () => {
    failures = 1;
    const port = rule({
      backends: [to('web')],
      retry: { attempts: 2, codes: [503], backoffMs: 1 },
    });
    const post =
      'POST /flaky HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody';
    const text = await ask(port, post);
    assert.equal(status(text), 200);
    assert.match(text, /hello body/);
  });

  test('a mirror gets a copy and nobody waits for it', async () => {
    const filters = { mirrors: [{ backend: to('copy') }] };
    const text = await ask(rule({ backends: [to('web')], filters }), get('/mirror'));
    assert.equal(status(text), 200);
    await eventually(() => mirrored.some((m) => m.url === '/mirror'), 'the copy');
  });

  const rewrites: readonly (readonly [string, Draft<wire.L7PathChange>, string])[] = [
    ['ReplaceFullPath', { full: '/full' }, '/full?q=1'],
    ['ReplacePrefixMatch', { prefix: '/new' }, '/new/x?q=1'],
    ['characters', { rawPrefix: '/n-' }, '/n-/x?q=1'],
    [
      'an expression',
      { regex: { pattern: '^/(.*)/(.*)', substitution: '/\\2/\\1' } },
      '/x/old?q=1',
    ],
  ];
  for (const [name, path, wanted] of rewrites) {
    test(`a rewrite as it comes over the wire, ${name}: ${wanted}`, async () => {
      const port = rule({ backends: [to('web')], filters: { rewrite: { path } } });
      const entries = [{ match: { pathKind: L7PathKind.PREFIX, path: '/old' }, rule: 0 }];
      const text = await ask({ ...port, routes: { ...port.routes, entries } }, get('/old/x?q=1'));
      assert.equal(status(text), 200);
      assert.equal(seen.at(-1)?.url, wanted);
    });
  }

  test('an invalid backend, weight 0 and no backend at all: 500', async () => {
    for (const backends of [[to('web', { invalid: true })], [to('web', { weight: 0 })], []]) {
      assert.equal(status(await ask(rule({ backends }), get('/'))), 500);
    }
  });

  test('no rule matches: 404; a redirect answers by itself; headers change both ways', async () => {
    const exact = rule({ backends: [to('web')] });
    const entries = [{ match: { pathKind: L7PathKind.EXACT, path: '/only' }, rule: 0 }];
    const none = { ...exact, routes: { ...exact.routes, entries } };
    assert.equal(status(await ask(none, get('/other'))), 404);
    const redirect = { redirect: { hostname: 'example.org', status: 301 } };
    const moved = await ask(rule({ filters: redirect }), get('/x?y=1'));
    assert.match(moved, /^HTTP\/1\.1 301[\s\S]*location: http:\/\/example\.org\/x\?y=1\r\n/);
    const change = {
      requestHeaders: { set: [{ name: 'x-in', value: '1' }] },
      responseHeaders: { add: [{ name: 'x-app', value: '2' }] },
    };
    const text = await ask(rule({ backends: [to('web')], filters: change }), get('/h'));
    assert.match(text, /x-app: 1,2\r\n/);
    assert.equal(seen.at(-1)?.headers['x-in'], '1');
  });
});

describe('endpoints', () => {
  test('one that refuses connections is passed over', async () => {
    for (let i = 0; i < 6; i++) {
      assert.equal(status(await w.exchange(`${vip(6)}:80`, get(`/half${i}`))), 200);
    }
  });

  test('one that refuses connections is passed over even where nothing may be retried', async () => {
    const policies = [{ attempts: 0 }, { attempts: 1, on: ['retriable-status-codes'] }];
    for (const retry of policies) {
      w.configure('half', { ports: [rule({ backends: [to('half')], retry })] });
      for (let i = 0; i < 4; i++) {
        assert.equal(status(await w.exchange(`${vip(6)}:80`, get(`/failover${i}`))), 200);
      }
    }
  });

  test('none: 503 no healthy upstream', async () => {
    const text = await w.exchange(`${vip(7)}:80`, get('/'));
    assert.equal(status(text), 503);
    assert.match(text, /no healthy upstream$/);
  });

  test('one that hangs up before an answer: 503, what may not be repeated is not tried again', async () => {
    const before = seen.length;
    const text = await w.exchange(`${vip(1)}:80`, get('/reset').replace('GET', 'POST'));
    assert.equal(status(text), 503);
    assert.match(text, /reset reason: connection termination$/);
    assert.equal(seen.length - before, 1);
  });
});

test('targets that are not ours are refused with their reason', async () => {
  const rows = [
    [`${vip(2)}:80`, /404 WAYPOINT_NOT_BOUND/],
    [`${vip(99)}:80`, /404 WAYPOINT_NOT_BOUND/],
    [`${vip(1)}:81`, /404 WAYPOINT_NOT_BOUND/],
  ] as const;
  for (const [authority, wanted] of rows) {
    await assert.rejects(w.connect(authority), { message: wanted });
  }
});

test('metrics tell of requests with the waypoint as reporter', async () => {
  const { port } = w.waypoint.addresses.stats;
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  assert.match(
    text,
    /istio_requests_total\{reporter="waypoint".*destination_service="web\.shop\.svc\.cluster\.local".*response_code="200"/,
  );
});
