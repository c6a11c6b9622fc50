// Every kind of caller to every kind of server in every protocol, straight and through a waypoint (checklist M1); and a
// CONNECT inside the tunnel. One node proxy, one waypoint, one application at two addresses.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Service } from '../../core/model/index.ts';
import { L7PortProtocol } from '../../core/proto/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { proxyHeader } from '../kit/apps.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const client = at(2);
const outside = at(3);
const servers = { captured: at(4), plain: at(5) } as const;
type Server = keyof typeof servers;
const ways = ['straight', 'waypoint'] as const;
type Way = (typeof ways)[number];
const ports = { http: 8081, h2: 8082, tcp: 8083, first: 8084, proxy: 8085 } as const;
const services = (Object.keys(servers) as Server[]).flatMap((server) =>
  ways.map((way) => ({ server, way, name: `${server}-${way}` })),
);
const vipOf = (server: Server, way: Way): string =>
  at(101 + services.findIndex((s) => s.server === server && s.way === way));

interface Seen {
  readonly from: string;
  readonly headers: http.IncomingHttpHeaders;
}
let last: Seen | undefined;
const stops: (() => void)[] = [];
let mesh: TestMesh;
let w: TestWaypoint;
let madeServices: Service[] = [];

/** The application: HTTP/1.1 with WebSocket, HTTP/2 with gRPC, an echo, one that speaks first, and a forward proxy. */
async function startApp(ip: string): Promise<void> {
  const saw = (socket: net.Socket | undefined, headers: http.IncomingHttpHeaders = {}): void => {
    last = { from: socket?.remoteAddress ?? '', headers };
  };
  const plain = http.createServer((req, res) => {
    saw(req.socket, req.headers);
    res.end('hello');
  });
  plain.on('upgrade', (req, socket) => {
    saw(req.socket, req.headers);
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
    socket.pipe(socket);
  });
  const h2 = http2.createServer();
  h2.on('stream', (stream, headers) => {
    saw(stream.session?.socket, headers);
    if (headers['content-type'] !== 'application/grpc') {
      stream.respond({ ':status': 200 });
      return void stream.end('hello');
    }
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc' },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end('hello');
  });
  const opaque = (greet: string) =>
    net.createServer((socket) => {
      saw(socket);
      socket.on('error', () => {});
      if (greet !== '') socket.write(greet);
      socket.pipe(socket);
    });
  for (const [server, port] of [
    [plain, ports.http],
    [h2, ports.h2],
    [opaque(''), ports.tcp],
    [opaque('hello'), ports.first],
    [opaque(''), ports.proxy],
  ] as const) {
    const s: net.Server = server;
    const open = new Set<net.Socket>();
    s.on('connection', (socket: net.Socket) => open.add(socket));
    await new Promise<void>((resolve) => s.listen(port, ip, resolve));
    stops.push(() => {
      s.close();
      for (const socket of open) socket.destroy();
    });
  }
}

before(async () => {
  for (const ip of Object.values(servers)) await startApp(ip);
  w = await startTestWaypoint(at(1));
  mesh = await startMesh({ ca: w.ca });
  const waypoint = { kind: 'host', namespace: 'shop', hboneMtlsPort: 15008 } as const;
  madeServices = services.map(({ server, way, name }) => ({
    ...testService(name, vipOf(server, way), 80, 80),
    ports: Object.values(ports).map((p) => ({
      servicePort: p,
      targetPort: p,
      appProtocol: 'UNKNOWN' as const,
    })),
    ...(way === 'waypoint' && {
      waypoint: { ...waypoint, hostname: 'waypoint.shop.svc.cluster.local' },
    }),
  }));
  const pods = (Object.keys(servers) as Server[]).map((server) =>
    testWorkload(server, servers[server], {
      protocol: server === 'captured' ? 'HBONE' : 'TCP',
      services: new Map(ways.flatMap((way) => [...backs(`${server}-${way}`)])),
    }),
  );
  const caller = testWorkload('client', client);
  const own = testService('waypoint', at(110), 15008, 15008);
  const proxy = testWorkload('waypoint-1', at(1), {
    serviceAccount: 'waypoint',
    node: 'n2',
    nativeTunnel: true,
    services: backs('waypoint'),
  });
  w.feed.apply({ services: madeServices, workloads: [...pods, caller] });
  mesh.apply({ services: [...madeServices, own], workloads: [...pods, proxy] });
  await mesh.enrol(caller, ...pods.filter((p) => p.protocol === 'HBONE'));
  for (const { name, way } of services) {
    if (way !== 'waypoint') continue;
    // Nothing is declared, but for the last one: the first bytes say what it is.
    const { DETECT, TCP } = L7PortProtocol;
    w.configure(name, {
      ports: Object.values(ports).map((port) => ({
        port,
        protocol: port === ports.proxy ? TCP : DETECT,
      })),
    });
  }
});
after(async () => {
  await mesh.stop();
  await w.stop();
  for (const stop of stops) stop();
});

interface Caller {
  readonly ip: string;
  /** Where `target:port` is really dialled; undefined = just there. */
  readonly via: (server: Server) => net.NetConnectOpts | undefined;
}
const callers: Readonly<Record<'captured' | 'outside', Caller>> = {
  captured: { ip: client, via: () => ({ host: client, port: 15001 }) },
  // Nobody captures its calls; those into a captured pod arrive at that pod's plaintext port.
  outside: {
    ip: outside,
    via: (server) => (server === 'captured' ? { host: servers.captured, port: 15006 } : undefined),
  },
};

async function dial(caller: Caller, server: Server, target: string, port: number) {
  const via = caller.via(server);
  const socket = net.connect({ host: target, port, localAddress: caller.ip, ...via });
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  if (via) socket.write(proxyHeader(caller.ip, target, port));
  return socket;
}

/** Reads until all of `wanted` has come. */
async function hears(socket: net.Socket, wanted: string): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  await eventually(() => text.includes(wanted), `${wanted} in ${text}`);
  return text;
}

async function overHttp2(socket: net.Socket, headers: http2.OutgoingHttpHeaders) {
  const session = http2.connect('http://web', { createConnection: () => socket });
  session.on('error', () => {});
  const stream = session.request({ ':path': '/', ...headers });
  const got: http2.IncomingHttpHeaders = {};
  let body = '';
  stream.on('response', (h) => Object.assign(got, h));
  stream.on('trailers', (h) => Object.assign(got, h));
  stream.on('data', (chunk: Buffer) => (body += chunk.toString()));
  stream.end();
  await new Promise<void>((resolve, reject) => {
    stream.on('end', resolve);
    stream.on('error', reject);
  });
  session.destroy();
  return { got, body };
}

/** Speaks the protocol; gives the `server` header where there are headers. */
const protocols: Readonly<
  Record<
    string,
    { readonly port: number; readonly talk: (s: net.Socket) => Promise<string | undefined> }
  >
> = {
  'HTTP/1.1': {
    port: ports.http,
    async talk(s) {
      s.write('GET / HTTP/1.1\r\nhost: web\r\n\r\n');
      return /^server: (.*)\r$/im.exec(await hears(s, 'hello'))?.[1] ?? '';
    },
  },
  'HTTP/2': {
    port: ports.h2,
    async talk(s) {
      const { got, body } = await overHttp2(s, {});
      assert.equal(body, 'hello');
      return String(got['server'] ?? '');
    },
  },
  gRPC: {
    port: ports.h2,
    async talk(s) {
      const asked = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };
      const { got, body } = await overHttp2(s, asked);
      assert.deepEqual([body, got['grpc-status']], ['hello', '0']);
      return String(got['server'] ?? '');
    },
  },
  WebSocket: {
    port: ports.http,
    async talk(s) {
      const upgrade = 'connection: Upgrade\r\nupgrade: websocket\r\n';
      s.write(`GET /ws HTTP/1.1\r\nhost: web\r\n${upgrade}\r\n`);
      const head = await hears(s, '\r\n\r\n');
      s.write('to and fro');
      await hears(s, 'to and fro');
      return /^server: (.*)\r$/im.exec(head)?.[1] ?? '';
    },
  },
  TCP: {
    port: ports.tcp,
    async talk(s) {
      s.write('EHLO there\r\n');
      await hears(s, 'EHLO there\r\n');
      return undefined;
    },
  },
  'TCP, the server speaks first': {
    port: ports.first,
    async talk(s) {
      await hears(s, 'hello');
      s.write('thanks');
      await hears(s, 'thanks');
      return undefined;
    },
  },
};

const internal = /^(x-envoy-|x-istio|forwarded$|baggage$|x-forwarded-network$)/;

describe('M1', () => {
  for (const [who, caller] of Object.entries(callers)) {
    for (const { server, way } of services) {
      for (const [protocol, { port, talk }] of Object.entries(protocols)) {
        test(`M1 ${who} → ${server}, ${way}: ${protocol}`, async () => {
          const target = who === 'captured' ? vipOf(server, way) : servers[server];
          last = undefined;
          const socket = await dial(caller, server, target, port);
          const by = await talk(socket);
          socket.destroy();
          assert.ok(last);
          const { from, headers } = last as Seen;
          const l7 = way === 'waypoint' && who === 'captured';
          if (by !== undefined) assert.equal(by, l7 ? 'istio-envoy' : '', 'who answers');
          if (!l7) assert.equal(from, caller.ip, 'whom the application sees');
          const names = Object.keys(headers).filter((n) => internal.test(n));
          assert.deepEqual(names, [], 'headers of the mesh');
          assert.equal('x-request-id' in headers, l7 && by !== undefined);
        });
      }
    }
  }
});

test('M4 the waypoint is taken from a service and given back: L4 only, then L7, the application runs on', async () => {
  const [bound] = services.filter((s) => s.server === 'plain' && s.way === 'waypoint');
  const made = madeServices.find((s) => s.name === bound?.name);
  assert.ok(made);
  const { waypoint: _, ...straight } = made;
  const answers = async (): Promise<string | undefined> => {
    const { port, talk } = protocols['HTTP/1.1'] ?? assert.fail();
    const socket = await dial(callers.captured, 'plain', vipOf('plain', 'waypoint'), port);
    const by = await talk(socket);
    socket.destroy();
    return by;
  };
  assert.equal(await answers(), 'istio-envoy');
  mesh.apply({ services: [straight] });
  assert.equal(await answers(), '');
  mesh.apply({ services: [made] });
  assert.equal(await answers(), 'istio-envoy');
});

describe('CONNECT inside the tunnel (waypoint-l7.md 8.4, 8.7)', () => {
  const target = (port: number): string => `${vipOf('plain', 'waypoint')}:${port}`;
  const rows: readonly (readonly [string, string, number])[] = [
    ['refused', 'host: a\r\n', 403],
    ['with a body by length', 'host: a\r\ncontent-length: 5\r\n', 400],
    ['with length 0', 'host: a\r\ncontent-length: 0\r\n', 403],
    ['with a transfer coding', 'host: a\r\ntransfer-encoding: chunked\r\n', 501],
    ['with two hosts', 'host: a\r\nhost: b\r\n', 400],
  ];
  for (const [name, head, status] of rows) {
    test(`over HTTP/1.1, ${name}: ${status}, what came behind it goes nowhere`, async () => {
      last = undefined;
      const text = await w.exchange(
        target(ports.http),
        `CONNECT db:5432 HTTP/1.1\r\n${head}\r\nGET /behind HTTP/1.1\r\nhost: a\r\n\r\n`,
      );
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, text);
      assert.equal(last, undefined);
    });
  }

  test('over HTTP/2: 403, and the connection goes on', async () => {
    const stream = await w.connect(target(ports.h2));
    const session = http2.connect('http://web', { createConnection: () => stream });
    const connect = session.request({ ':method': 'CONNECT', ':authority': 'db:5432' });
    connect.on('error', () => {});
    const status = new Promise((resolve) => connect.on('response', (h) => resolve(h[':status'])));
    assert.equal(await status, 403);
    const next = session.request({ ':path': '/' });
    assert.equal(await new Promise((r) => next.on('response', (h) => r(h[':status']))), 200);
    session.destroy();
  });

  test('both are told of, like every request', async () => {
    const { length } = w.lines;
    await w.exchange(target(ports.http), 'CONNECT db:5432 HTTP/1.1\r\nhost: a\r\n\r\n');
    const line = await eventually(
      () => w.lines.slice(length).find((l) => l.includes('connect_rejected')),
      'the line',
    );
    assert.match(line, /CONNECT/);
    assert.match(line, /DPE/);
  });

  test('to a port declared as TCP it is bytes like others: a forward proxy may stand behind it', async () => {
    const bytes = 'CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n';
    const text = await w.exchange(target(ports.proxy), bytes, (t) => t.length >= bytes.length);
    assert.equal(text, bytes);
  });
});
