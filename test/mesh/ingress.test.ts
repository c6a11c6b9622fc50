// An ingress gateway: callers from outside by plaintext and TLS, routes by host name, policies, and out through the mesh;
// also through the service's waypoint. Real sockets, real TLS, a real waypoint behind it.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { type GatewayAddress, namespacedHost, type Service } from '../../core/model/index.ts';
import {
  L7ListenerProtocol,
  L7PathKind,
  L7PolicyAction,
  L7PortProtocol,
} from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, testService, testWorkload } from '../kit/mesh.ts';
import {
  startTestIngress,
  startTestWaypoint,
  type TestIngress,
  type TestWaypoint,
} from '../kit/waypoint.ts';

const at = await claimBlock();
const edge = at(2);
const stops: (() => void)[] = [];
let w: TestWaypoint;
let g: TestIngress;

/** Answers with its name and what it was sent. */
async function app(name: string, n: number): Promise<string> {
  const server = http.createServer((req, res) => {
    res.setHeader('x-app', name);
    res.end(JSON.stringify({ name, path: req.url, headers: req.headers }));
  });
  await new Promise<void>((resolve) => server.listen(0, at(n), resolve));
  stops.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `${at(n)}:${(server.address() as net.AddressInfo).port}`;
}

const backend = (name: string): Draft<wire.L7RouteBackend> => ({
  namespace: 'shop',
  hostname: `${name}.shop.svc.cluster.local`,
  port: 80,
  weight: 1,
  protocol: L7PortProtocol.HTTP,
});
const host = (hostname: string, rule: Draft<wire.L7RouteRule>): Draft<wire.L7HostRoutes> => ({
  hostname,
  routes: {
    rules: [{ route: 'shop/r', name: 'r', ...rule }],
    entries: [{ match: { pathKind: L7PathKind.PREFIX, path: '' }, rule: 0 }],
  },
});
const to = (name: string): Draft<wire.L7RouteRule> => ({ backends: [backend(name)] });
const httpListener = (
  hosts: readonly Draft<wire.L7HostRoutes>[],
  more: Draft<wire.L7Listener> = {},
): Draft<wire.L7Listener> => ({
  name: 'http',
  port: 80,
  bindPort: 10_080,
  protocol: L7ListenerProtocol.LISTEN_HTTP,
  hosts: [...hosts],
  ...more,
});

interface Got {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly app?: string;
  readonly seen: http.IncomingHttpHeaders;
}

function get(
  path: string,
  o: { host?: string; headers?: Record<string, string>; agent?: http.Agent } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const headers = { host: o.host ?? 'shop.example.com', ...o.headers };
    const options = { host: edge, port: 10_080, path, headers, agent: o.agent ?? false };
    http
      .get(options, (res) => {
        let text = '';
        res.on('data', (chunk: Buffer) => (text += chunk.toString()));
        res.on('end', () => {
          const made = text.startsWith('{')
            ? (JSON.parse(text) as { name: string; headers: http.IncomingHttpHeaders })
            : undefined;
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            ...(made && { app: made.name }),
            seen: made?.headers ?? {},
          });
        });
      })
      .on('error', reject);
  });
}

/** What both proxies know of a service with one plain endpoint; its waypoint is ours. */
function serve(
  name: string,
  n: number,
  endpoint: string,
  more: Partial<Pick<Service, 'ingressUseWaypoint' | 'weightedWaypoints'>> & {
    waypoint?: string;
  } = {},
): void {
  w.service(name, at(100 + n), 80, [endpoint]);
  const [ip = '', port = ''] = endpoint.split(':');
  const key = namespacedHost('shop', `${name}.shop.svc.cluster.local`);
  const { waypoint, ...flags } = more;
  g.feed.apply({
    services: [
      {
        ...testService(name, at(100 + n), 80, 0),
        ...flags,
        ...(waypoint !== undefined && {
          waypoint: {
            kind: 'host',
            namespace: 'shop',
            hostname: `${waypoint}.shop.svc.cluster.local`,
            hboneMtlsPort: 15008,
          },
        }),
      },
    ],
    workloads: [
      testWorkload(`${name}-0`, ip, {
        protocol: 'TCP',
        services: new Map([[key, new Map([[80, Number(port)]])]]),
      }),
    ],
  });
}

before(async () => {
  w = await startTestWaypoint(at(1));
  g = await startTestIngress(edge, w.ca);
  g.feed.apply({
    services: [{ ...testService('waypoint', at(99), 15008, 15008) }],
    workloads: [
      testWorkload('waypoint-1', at(1), {
        protocol: 'TCP',
        serviceAccount: 'waypoint',
        services: backs('waypoint'),
      }),
    ],
  });
  serve('web', 1, await app('web', 11));
  serve('api', 2, await app('api', 12));
});
after(async () => {
  await g.stop();
  await w.stop();
  for (const stop of stops) stop();
});

describe('plain HTTP', () => {
  before(async () => {
    g.listen([
      httpListener([
        host('shop.example.com', to('web')),
        host('*.example.com', to('api')),
        host('old.example.com', { filters: { redirect: { hostname: 'shop.example.com' } } }),
      ]),
      httpListener([host('', to('web'))], { name: 'any', hostname: '*.example.org' }),
    ]);
    await g.waypoint.ready;
  });

  const rows: readonly (readonly [string, number, string | undefined])[] = [
    ['shop.example.com', 200, 'web'],
    ['SHOP.example.com:8080', 200, 'web'],
    ['a.b.example.com', 200, 'api'],
    ['example.com', 404, undefined],
    ['x.example.org', 200, 'web'],
    ['elsewhere', 404, undefined],
  ];
  for (const [name, status, wanted] of rows) {
    test(`HTTPRouteHostnameIntersection ${name}: ${status} ${wanted ?? ''}`, async () => {
      const got = await get('/', { host: name });
      assert.deepEqual([got.status, got.app], [status, wanted]);
    });
  }

  test('what a caller says of itself is replaced by what the gateway sees', async () => {
    const { seen } = await get('/', {
      headers: {
        'x-forwarded-for': '10.9.9.9',
        'x-forwarded-proto': 'https',
        'x-forwarded-client-cert': 'URI=spiffe://cluster.local/ns/shop/sa/admin',
        'x-request-id': 'mine',
        'x-envoy-max-retries': '9',
      },
    });
    assert.match(String(seen['x-forwarded-for']), /^10\.9\.9\.9, 127\./);
    assert.equal(seen['x-forwarded-proto'], 'http');
    assert.equal(seen['x-forwarded-client-cert'], undefined);
    assert.equal(seen['x-envoy-max-retries'], undefined);
    assert.match(String(seen['x-request-id']), /^[0-9a-f-]{36}$/);
  });

  test('a redirect keeps the scheme and the port of the Service, not of the pod', async () => {
    const got = await get('/x?y=1', { host: 'old.example.com' });
    assert.equal(got.headers.location, 'http://shop.example.com/x?y=1');
  });

  test('reported as its source, with the service that was meant', async () => {
    await get('/told');
    const text = (await g.metrics.render(undefined)).body;
    assert.match(
      text,
      /istio_requests_total\{.*reporter="source".*destination_service="web\.shop\.svc\.cluster\.local"/,
    );
    const line = g.lines.find((l) => l.includes('/told')) ?? '';
    assert.match(line, /src\.identity="?-/);
  });

  test('a change meets the next request of a kept connection, and a closed port nobody', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    assert.equal((await get('/', { agent })).app, 'web');
    g.listen([httpListener([host('', to('api'))])]);
    assert.equal((await get('/', { agent })).app, 'api');
    g.listen([httpListener([host('', to('api'))], { bindPort: 10_081 })]);
    await eventually(async () => {
      const s = net.connect(10_080, edge);
      return new Promise<boolean>((resolve) => {
        s.on('connect', () => (s.destroy(), resolve(false)));
        s.on('error', () => resolve(true));
      });
    }, 'the port to close');
    assert.equal((await get('/', { agent })).status, 404);
    agent.destroy();
  });
});

describe('M9 policies on an ingress', () => {
  const judge = async (rule: Draft<wire.L7AccessRule>, action: number): Promise<number> => {
    g.listen([httpListener([host('', to('web'))])], {
      policies: [{ key: 'shop/p', action, rules: [rule] }],
    });
    return eventually(async () => {
      const got = await get('/').catch(() => undefined);
      return got && got.status !== 404 ? got.status : undefined;
    }, 'an answer');
  };
  const { ALLOW, DENY } = L7PolicyAction;
  const source = (any: string[], none: string[] = []): Draft<wire.L7AccessRule> => ({
    from: [{ principals: { any, none } }],
  });
  const ports = (...any: string[]): Draft<wire.L7AccessRule> => ({ to: [{ ports: { any } }] });
  const rows: readonly (readonly [string, Draft<wire.L7AccessRule>, number, number])[] = [
    [
      'ALLOW a principal: nobody outside has one',
      source(['cluster.local/ns/shop/sa/a']),
      ALLOW,
      403,
    ],
    ['ALLOW any principal: there is none', source(['*']), ALLOW, 403],
    ['DENY all but a principal', source([], ['cluster.local/ns/shop/sa/a']), DENY, 403],
    ['DENY a principal: not this caller', source(['*']), DENY, 200],
    ['ALLOW the port of the listener', ports('80'), ALLOW, 200],
    ['ALLOW the port of the pod: not what was asked for', ports('10080'), ALLOW, 403],
    ['DENY the port', ports('80'), DENY, 403],
    ['DENY another port', ports('8080'), DENY, 200],
  ];
  for (const [name, rule, action, status] of rows) {
    test(`M9 ${name}: ${status}`, async () => assert.equal(await judge(rule, action), status));
  }
});

describe('M17 ingress and the waypoint of a service', () => {
  const through = (allowed: string): void =>
    w.configure('api', {
      forwardClientCert: true,
      ports: [
        {
          port: 80,
          protocol: L7PortProtocol.HTTP,
          routes: host('', {
            ...to('api'),
            filters: { responseHeaders: { set: [{ name: 'x-waypoint', value: 'yes' }] } },
          }).routes!,
        },
      ],
      policies: [
        {
          key: 'shop/p',
          action: L7PolicyAction.ALLOW,
          rules: [{ from: [{ principals: { any: [`cluster.local/ns/shop/sa/${allowed}`] } }] }],
        },
      ],
    });
  const ask = async (more: Parameters<typeof serve>[3]): Promise<Got> => {
    serve('api', 2, await app('api', 12), more);
    return get('/');
  };

  before(() => {
    through('edge-istio');
    g.listen([httpListener([host('', to('api'))])]);
  });

  test('M17 by default it goes straight to the endpoints', async () => {
    const got = await ask({ waypoint: 'waypoint' });
    assert.deepEqual([got.status, got.app, got.headers['x-waypoint']], [200, 'api', undefined]);
  });

  test('M17 with ingress-use-waypoint it goes through, under its own identity', async () => {
    const got = await ask({ waypoint: 'waypoint', ingressUseWaypoint: true });
    assert.deepEqual([got.status, got.app, got.headers['x-waypoint']], [200, 'api', 'yes']);
    assert.match(
      String(got.seen['x-forwarded-client-cert']),
      /URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/edge-istio$/,
    );
    assert.match(String(got.seen['x-forwarded-proto']), /^http$/);
  });

  test('M9 M17 the waypoint judges the gateway by its principal', async () => {
    through('somebody');
    assert.equal((await ask({ waypoint: 'waypoint', ingressUseWaypoint: true })).status, 403);
  });

  test('M17 a waypoint that cannot be used: 503, never around it', async () => {
    const got = await ask({ waypoint: 'gone', ingressUseWaypoint: true });
    assert.deepEqual([got.status, got.app], [503, undefined]);
  });

  for (const [share, status] of [
    [0, 200],
    [100, 503],
  ] as const) {
    test(`M21 a canary that cannot be used with weight ${share}: ${status}`, async () => {
      through('edge-istio');
      const at15008 = (name: string): GatewayAddress => ({
        kind: 'host',
        namespace: 'shop',
        hostname: `${name}.shop.svc.cluster.local`,
        hboneMtlsPort: 15008,
      });
      const got = await ask({
        waypoint: 'waypoint',
        ingressUseWaypoint: true,
        weightedWaypoints: [
          { destination: at15008('waypoint'), weight: 100 - share },
          { destination: at15008('gone'), weight: share },
        ],
      });
      assert.equal(got.status, status);
    });
  }

  test('an endpoint that cannot prove its identity: 503, never in plaintext', async () => {
    const endpoint = await app('imposter', 13);
    serve('imposter', 3, endpoint);
    const [ip = '', port = ''] = endpoint.split(':');
    const key = namespacedHost('shop', 'imposter.shop.svc.cluster.local');
    g.feed.apply({
      workloads: [
        testWorkload('imposter-0', ip, {
          protocol: 'HBONE',
          services: new Map([[key, new Map([[80, Number(port)]])]]),
        }),
      ],
    });
    g.listen([httpListener([host('', to('imposter'))])]);
    assert.equal((await get('/')).status, 503);
  });
});

describe('TLS', () => {
  const connect = (
    servername: string | undefined,
    protocols: string[],
    port = 10_443,
  ): Promise<tls.TLSSocket> =>
    new Promise((resolve, reject) => {
      const s = tls.connect({
        host: edge,
        port,
        ...(servername !== undefined && { servername }),
        ALPNProtocols: protocols,
        rejectUnauthorized: false,
      });
      s.once('secureConnect', () => resolve(s));
      s.once('error', reject);
      s.once('close', () => reject(new Error('closed')));
    });

  let made: (name: string) => Promise<Draft<wire.L7KeyPair>>;
  let many: (pair: Draft<wire.L7KeyPair>, more?: Draft<wire.L7KeyPair>[]) => void;
  before(async () => {
    made = async (name) => {
      const { chainPem, keyPem } = await g.ca.signServer({
        dns: [name],
        ips: [],
        ttlSeconds: 3600,
      });
      return { certificates: chainPem, privateKey: keyPem };
    };
    const https = (name: string, hostname: string, pair: Draft<wire.L7KeyPair>, service: string) =>
      httpListener([host('', to(service))], {
        name,
        port: 443,
        bindPort: 10_443,
        protocol: L7ListenerProtocol.LISTEN_HTTPS,
        hostname,
        ...pair,
      });
    serve('api', 2, await app('api', 12));
    const one = https('one', 'one.example.com', await made('one.example.com'), 'web');
    const ended = {
      name: 'ended',
      port: 445,
      bindPort: 10_445,
      protocol: L7ListenerProtocol.LISTEN_TLS,
      ...(await made('opaque.example.com')),
      connections: [
        { name: 'shop/t', hostnames: ['opaque.example.com'], backends: [backend('web')] },
      ],
    };
    many = (pair, moreCertificates = []) =>
      g.listen([
        one,
        { ...https('many', '*.example.com', pair, 'api'), moreCertificates },
        ended,
        {
          ...ended,
          name: 'passing',
          hostname: 'passing.example.com',
          certificates: '',
          privateKey: '',
        },
      ]);
    many(await made('*.example.com'));
    await eventually(
      () =>
        connect('one.example.com', ['h2']).then(
          (s) => s.destroy(),
          () => undefined,
        ),
      'the listener',
    );
  });

  for (const [name, wanted, shown] of [
    ['one.example.com', 'web', 'one.example.com'],
    ['two.example.com', 'api', '*.example.com'],
  ] as const) {
    test(`${name}: the certificate and the routes of its listener, over HTTP/2`, async () => {
      const socket = await connect(name, ['h2', 'http/1.1']);
      assert.equal(socket.alpnProtocol, 'h2');
      assert.equal(socket.getPeerCertificate().subjectaltname, `DNS:${shown}`);
      const session = http2.connect(`https://${name}`, { createConnection: () => socket });
      const stream = session.request({ ':path': '/' });
      const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) =>
        stream.once('response', resolve),
      );
      assert.equal(headers['x-app'], wanted);
      session.destroy();
    });
  }

  test('HTTP/1.1, and the application hears https', async () => {
    const socket = await connect('one.example.com', ['http/1.1']);
    socket.write('GET / HTTP/1.1\r\nhost: one.example.com\r\nconnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /"x-forwarded-proto":"https"/);
  });

  const shown = async (name: string): Promise<string> => {
    const socket = await connect(name, ['h2']);
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const printOf = (pair: Draft<wire.L7KeyPair>): string =>
    new X509Certificate(pair.certificates ?? '').fingerprint256;

  test('several certificates of one listener: by server name, exact before wildcard, then the first', async () => {
    const [wild, two, three] = [
      await made('*.example.com'),
      await made('two.example.com'),
      await made('three.example.com'),
    ];
    many(wild, [two, three]);
    assert.equal(await shown('two.example.com'), printOf(two));
    assert.equal(await shown('three.example.com'), printOf(three));
    assert.equal(await shown('four.example.com'), printOf(wild));
    assert.equal(await shown('a.b.example.com'), printOf(wild));
  });

  test('a certificate that changes meets the next caller; who is there goes on', async () => {
    const [old, fresh] = [await made('*.example.com'), await made('*.example.com')];
    many(old);
    const socket = await connect('two.example.com', ['http/1.1']);
    many(fresh);
    assert.equal(await shown('two.example.com'), printOf(fresh));
    socket.write('GET / HTTP/1.1\r\nhost: two.example.com\r\nconnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /^HTTP\/1\.1 200 /);
  });

  test('TLSRouteTerminate: TLS is ended, what is inside goes on as it is; other names are closed', async () => {
    const socket = await connect('opaque.example.com', [], 10_445);
    assert.equal(socket.getPeerCertificate().subjectaltname, 'DNS:opaque.example.com');
    socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /"name":"web"/);
    assert.doesNotMatch(text, /x-forwarded-for/);
    const other = await connect('other.example.com', [], 10_445);
    await new Promise((resolve) => other.resume().once('close', resolve));
    await assert.rejects(connect('passing.example.com', [], 10_445), 'not ended for that name');
  });

  for (const name of ['example.org', undefined]) {
    test(`${name ?? 'no server name'}: no certificate is shown`, async () => {
      await assert.rejects(connect(name, ['h2']));
    });
  }

  test('plaintext is not answered', async () => {
    const s = net.connect(10_443, edge);
    s.on('error', () => {});
    s.write('GET / HTTP/1.1\r\nhost: one.example.com\r\n\r\n');
    let text = '';
    s.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await new Promise((resolve) => s.once('close', resolve));
    assert.doesNotMatch(text, /HTTP\/1/);
  });
});

describe('COMPLIANCE_POLICY=pqc', () => {
  let strict: TestIngress;
  before(async () => {
    strict = await startTestIngress(at(3), w.ca, { COMPLIANCE_POLICY: 'pqc' });
    const pair = await w.ca.signServer({ dns: ['a.example.com'], ips: [], ttlSeconds: 3600 });
    strict.listen([
      httpListener([host('', { direct: { status: 204, body: new Uint8Array() } })], {
        port: 443,
        bindPort: 10_443,
        protocol: L7ListenerProtocol.LISTEN_HTTPS,
        certificates: pair.chainPem,
        privateKey: pair.keyPem,
      }),
    ]);
    await strict.waypoint.ready;
  });
  after(() => strict.stop());

  const rows: readonly (readonly [string, tls.ConnectionOptions, boolean])[] = [
    ['the hybrid alone', { ecdhCurve: 'X25519MLKEM768' }, true],
    ['the hybrid among others, not first', { ecdhCurve: 'X25519:X25519MLKEM768' }, true],
    ['X25519', { ecdhCurve: 'X25519' }, false],
    ['P-256', { ecdhCurve: 'P-256' }, false],
    ['TLS 1.2', { maxVersion: 'TLSv1.2' }, false],
  ];
  for (const [name, o, good] of rows) {
    test(`M33 a caller with ${name}: ${good ? 'served' : 'no handshake'}`, async () => {
      const s = tls.connect({
        host: at(3),
        port: 10_443,
        servername: 'a.example.com',
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        ...o,
      });
      let text = '';
      s.on('secureConnect', () => {
        s.write('GET / HTTP/1.1\r\nhost: a.example.com\r\nconnection: close\r\n\r\n');
      });
      s.on('data', (chunk: Buffer) => (text += chunk.toString()));
      s.on('error', () => {});
      await new Promise<void>((resolve) => s.on('close', () => resolve()));
      assert.equal(text.startsWith('HTTP/1.1 204 '), good, text);
    });
  }
});

describe('TLS that passes through', () => {
  /** Who answers; empty = nobody. */
  const ask = (servername: string | undefined, said = ''): Promise<string> =>
    new Promise((resolve) => {
      let text = '';
      const s = tls.connect({
        host: edge,
        port: 10_444,
        rejectUnauthorized: false,
        ...(servername !== undefined && { servername }),
      });
      if (said !== '') s.write(said);
      s.on('data', (chunk: Buffer) => (text += chunk.toString()));
      s.on('error', () => {});
      s.on('close', () => resolve(text));
    });
  const passing = (hostname: string, name: string, ...hostnames: string[]) => ({
    name: hostname,
    port: 444,
    bindPort: 10_444,
    protocol: L7ListenerProtocol.LISTEN_TLS,
    hostname,
    connections: [{ name: 'shop/t', hostnames, backends: [backend(name)] }],
  });

  before(async () => {
    for (const [n, name] of [
      [4, 'first'],
      [5, 'second'],
    ] as const) {
      const pair = await g.ca.signServer({ dns: [name], ips: [], ttlSeconds: 3600 });
      const server = tls.createServer({ cert: pair.chainPem, key: pair.keyPem }, (socket) => {
        socket.on('error', () => {});
        socket.end(name);
      });
      await new Promise<void>((resolve) => server.listen(0, at(10 + n), resolve));
      stops.push(() => void server.close());
      serve(name, n, `${at(10 + n)}:${(server.address() as net.AddressInfo).port}`);
    }
    g.listen([
      passing('one.example.com', 'first', 'one.example.com'),
      passing('*.example.com', 'second', 'two.example.com', '*.three.example.com'),
    ]);
    await eventually(async () => (await ask('one.example.com')) === 'first', 'the listener');
  });

  for (const [name, wanted] of [
    ['one.example.com', 'first'],
    ['two.example.com', 'second'],
    ['x.three.example.com', 'second'],
    ['four.example.com', ''],
    ['example.org', ''],
    [undefined, ''],
  ] as const) {
    test(`TLSRouteSimpleSameNamespace ${name ?? 'no name'}: ${wanted || 'closed'}`, async () =>
      assert.equal(await ask(name), wanted));
  }

  test('M9 connection.sni: of TLS that passes through, and of TLS that is ended', async () => {
    const sni = (any: string[], listener: Draft<wire.L7Listener>): void =>
      g.listen([listener], {
        policies: [
          {
            key: 'shop/p',
            action: L7PolicyAction.ALLOW,
            rules: [{ when: [{ key: 'connection.sni', values: { any } }] }],
          },
        ],
      });
    const pass = passing('', 'first', 'one.example.com', 'two.example.com');
    sni(['one.*'], pass);
    assert.deepEqual([await ask('one.example.com'), await ask('two.example.com')], ['first', '']);
    const any = { ...pass, protocol: L7ListenerProtocol.LISTEN_TCP };
    sni(['two.*'], { ...any, connections: [{ name: 'shop/t', backends: [backend('first')] }] });
    assert.deepEqual([await ask('one.example.com'), await ask('two.example.com')], ['', 'first']);
    const pair = await g.ca.signServer({ dns: ['*.example.com'], ips: [], ttlSeconds: 3600 });
    const ended = {
      ...httpListener([host('', { direct: { status: 204, body: new Uint8Array() } })]),
      port: 444,
      bindPort: 10_444,
      protocol: L7ListenerProtocol.LISTEN_HTTPS,
      certificates: pair.chainPem,
      privateKey: pair.keyPem,
    };
    sni(['one.example.com'], ended);
    const status = (name: string): Promise<string> =>
      ask(name, 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n').then((t) =>
        t.slice(9, 12),
      );
    assert.deepEqual(
      [await status('one.example.com'), await status('two.example.com')],
      ['204', '403'],
    );
  });
});
