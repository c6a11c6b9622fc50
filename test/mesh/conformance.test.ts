// The behaviours of Gateway API's mesh conformance (waypoint-l7.md 4.2), a row per upstream test: the objects go through the
// control plane's translation, the requests through a real waypoint. What the upstream client does not compare — the path
// that an application saw, Location — is compared here too.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import type { KubeObject } from '../../core/kube/index.ts';
import { namespacedHost } from '../../core/model/index.ts';
import { shopObject as object } from '../../istiod-lite/gateway/testkit.ts';
import { claimBlock } from '../kit/addresses.ts';
import { testService, testWorkload } from '../kit/mesh.ts';
import { configureFrom } from '../kit/objects.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const stops: (() => void)[] = [];
const vips: Readonly<Record<string, string>> = {
  echo: at(101),
  'echo-v1': at(102),
  'echo-v2': at(103),
  'echo-v3': at(104),
};
let w: TestWaypoint;

interface Seen {
  readonly app: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** For HTTP/1.1 on 8080, gRPC on 7070, a protocol where the server speaks first on 9090, and TLS on 9443. */
async function echo(name: string, ip: string): Promise<void> {
  const told = (path: string | undefined, headers: object): string =>
    JSON.stringify({ app: name, path, headers });
  const plain = http.createServer((q, r) => r.end(told(q.url, q.headers)));
  const grpc = http2.createServer((q, r) => {
    r.setHeader('content-type', 'application/grpc');
    r.setHeader('x-seen', told(q.url, q.headers));
    r.end();
  });
  const first = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.end(name);
  });
  const { chainPem: cert, keyPem: key } = await w.ca.signServer({
    dns: [name],
    ips: [],
    ttlSeconds: 3600,
  });
  const secured = tls.createServer({ cert, key }, (socket) => {
    socket.on('error', () => {});
    socket.end(name);
  });
  for (const [server, port] of [
    [secured, 9443],
    [plain, 8080],
    [grpc, 7070],
    [first, 9090],
  ] as const) {
    await new Promise<void>((resolve) => (server as net.Server).listen(port, ip, resolve));
    stops.push(() => void server.close());
  }
  stops.push(() => plain.closeAllConnections());
}

const ports = [
  { name: 'http', port: 80, targetPort: 8080, appProtocol: 'http' },
  { name: 'http-alt', port: 8080, targetPort: 8080, appProtocol: 'http' },
  { name: 'tcp', port: 9090, targetPort: 9090, appProtocol: 'tcp' },
  { name: 'tls', port: 9443, targetPort: 9443, appProtocol: 'tls' },
  { name: 'any', port: 9444, targetPort: 9443 },
  { name: 'grpc', port: 7070, targetPort: 7070, appProtocol: 'kubernetes.io/h2c' },
];
const base: readonly KubeObject[] = Object.keys(vips).map((name) =>
  object('Service', name, { spec: { clusterIP: vips[name], ports } }),
);

/** The waypoint knows these routes and no others. */
function configure(...routes: readonly KubeObject[]): void {
  configureFrom(w, [...base, ...routes]);
}

interface Ask {
  readonly method?: string;
  readonly service?: string;
  readonly port?: number;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly seen: Seen | undefined;
}

async function ask(path: string, o: Ask = {}): Promise<Got> {
  const to = `${vips[o.service ?? 'echo'] ?? ''}:${o.port ?? 80}`;
  const lines = Object.entries(o.headers ?? {}).map(([n, v]) => `${n}: ${v}\r\n`);
  const text = await w.exchange(
    to,
    `${o.method ?? 'GET'} ${path} HTTP/1.1\r\nhost: ${o.host ?? 'echo'}\r\nconnection: close\r\n${lines.join('')}\r\n`,
  );
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const headers = Object.fromEntries(
    head
      .split('\r\n')
      .slice(1)
      .map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]),
  );
  const json = /\{.*\}/s.exec(body)?.[0];
  return {
    status: Number(head.split(' ')[1]),
    headers,
    seen: json === undefined ? undefined : (JSON.parse(json) as Seen),
  };
}

async function grpcAnswer(
  headers: Readonly<Record<string, string>>,
): Promise<http2.IncomingHttpHeaders> {
  const socket = await w.connect(`${vips['echo'] ?? ''}:7070`);
  const session = http2.connect('http://echo:7070', { createConnection: () => socket });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/echo.Echo/Say',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const answer = await new Promise<http2.IncomingHttpHeaders>((resolve, reject) => {
    stream.once('response', resolve);
    stream.once('error', reject);
  });
  session.destroy();
  return answer;
}
const grpc = async (headers: Readonly<Record<string, string>> = {}): Promise<Seen> =>
  JSON.parse(String((await grpcAnswer(headers))['x-seen'])) as Seen;

const parent = (name = 'echo', more: object = {}): object => ({
  group: '',
  kind: 'Service',
  name,
  ...more,
});
const to = (name: string, more: object = {}): object => ({ name, port: 80, ...more });
const route = (
  rules: readonly object[],
  more: object = {},
  name = 'r',
  namespace = 'shop',
): KubeObject =>
  object('HTTPRoute', name, { spec: { parentRefs: [parent()], rules, ...more } }, { namespace });
const path = (type: string, value: string): object => ({ path: { type, value } });
const prefix = (value: string): object => path('PathPrefix', value);
const named = (name: string, value: string): object[] => [{ name, value }];
const header = (name: string, value: string): object => ({ headers: named(name, value) });
const query = (name: string, value: string): object => ({ queryParams: [{ name, value }] });
const respond = (name: string, value: string): object => ({
  type: 'ResponseHeaderModifier',
  responseHeaderModifier: { set: [{ name, value }] },
});
const redirect = (requestRedirect: object): object => ({
  type: 'RequestRedirect',
  requestRedirect,
});
const rewriteFilter = (type: string, value: string): object => ({
  type: 'URLRewrite',
  urlRewrite: {
    path: { type, [type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch']: value },
  },
});
const modify = (requestHeaderModifier: object): object => ({
  type: 'RequestHeaderModifier',
  requestHeaderModifier,
});

before(async () => {
  w = await startTestWaypoint(at(1));
  await echo('echo-v1', at(11));
  await echo('echo-v2', at(12));
  await echo('echo-v3', at(13));
  const workloads = [
    ['echo-v1', at(11)],
    ['echo-v2', at(12)],
    ['echo-v3', at(13)],
  ] as const;
  const mapped = new Map(ports.map((p) => [p.port, p.targetPort]));
  const key = (name: string) => namespacedHost('shop', `${name}.shop.svc.cluster.local`);
  w.feed.apply({
    services: Object.entries(vips).map(([name, vip]) => ({
      ...testService(name, vip, 80, 8080),
      ports: ports.map((p) => ({
        servicePort: p.port,
        targetPort: p.targetPort,
        appProtocol: 'UNKNOWN' as const,
      })),
    })),
    workloads: workloads.map(([name, ip]) =>
      testWorkload(name, ip, {
        protocol: 'TCP',
        services: new Map(
          [name, ...(name === 'echo-v3' ? [] : ['echo'])].map((n) => [key(n), mapped]),
        ),
      }),
    ),
  });
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

/** Request, and what is wanted of it: status or application, then Location, or the path the application saw. */
type Row = readonly [
  request: string,
  wanted: string | number,
  more?: string | undefined,
  ask?: Ask,
];
async function check(rows: readonly Row[]): Promise<void> {
  for (const [target, wanted, more, how] of rows) {
    const got = await ask(target, how);
    const what = `${target} ${JSON.stringify(how ?? {})}`;
    if (typeof wanted === 'number') assert.equal(got.status, wanted, what);
    else assert.deepEqual([got.status, got.seen?.app], [200, wanted], what);
    if (more !== undefined) assert.equal(got.headers['location'] ?? got.seen?.path, more, what);
  }
}
const with_ = (headers: Readonly<Record<string, string>>): Ask => ({ headers });
const v1 = { backendRefs: [to('echo-v1')] };
const v2 = { backendRefs: [to('echo-v2')] };

const tables: readonly (readonly [string, readonly object[], readonly Row[]])[] = [
  ['MeshHTTPRouteSimpleSameNamespace', [v1], [['/', 'echo-v1']]],
  [
    'MeshTrafficSplit',
    [
      { matches: [path('Exact', '/v1')], ...v1 },
      { matches: [path('Exact', '/v2')], ...v2 },
    ],
    [
      ['/v1', 'echo-v1'],
      ['/v2', 'echo-v2'],
      ['/v3', 404],
    ],
  ],
  [
    'MeshHTTPRouteMatching',
    [
      { matches: [prefix('/'), header('version', 'one')], ...v1 },
      { matches: [prefix('/v2'), header('version', 'two')], ...v2 },
    ],
    [
      ...['/', '/example', '/v2example', '/foo/v2/example'].map((p): Row => [p, 'echo-v1']),
      ['/', 'echo-v1', undefined, with_({ Version: 'one' })],
      ...['/v2', '/v2/', '/v2/example'].map((p): Row => [p, 'echo-v2']),
      ['/', 'echo-v2', undefined, with_({ Version: 'two' })],
    ],
  ],
  [
    'MeshHTTPRouteRedirectHostAndStatus',
    [
      { matches: [prefix('/hostname-redirect')], filters: [redirect({ hostname: 'example.org' })] },
      {
        matches: [prefix('/host-and-status')],
        filters: [redirect({ hostname: 'example.org', statusCode: 301 })],
      },
    ],
    [
      ['/hostname-redirect', 302, 'http://example.org/hostname-redirect'],
      ['/host-and-status', 301, 'http://example.org/host-and-status'],
    ],
  ],
  [
    'MeshHTTPRouteSchemeRedirect',
    [
      { matches: [prefix('/scheme')], filters: [redirect({ scheme: 'https' })] },
      {
        matches: [prefix('/scheme-and-host')],
        filters: [redirect({ scheme: 'https', hostname: 'example.org' })],
      },
      {
        matches: [prefix('/scheme-and-status')],
        filters: [redirect({ scheme: 'https', statusCode: 301 })],
      },
      {
        matches: [prefix('/scheme-and-host-and-status')],
        filters: [redirect({ scheme: 'https', hostname: 'example.org', statusCode: 302 })],
      },
    ],
    [
      ['/scheme', 302, 'https://echo/scheme'],
      ['/scheme-and-host', 302, 'https://example.org/scheme-and-host'],
      ['/scheme-and-status', 301, 'https://echo/scheme-and-status'],
      ['/scheme-and-host-and-status', 302, 'https://example.org/scheme-and-host-and-status'],
    ],
  ],
  [
    'MeshHTTPRouteRedirectPort',
    [
      { matches: [prefix('/port')], filters: [redirect({ port: 8083 })] },
      {
        matches: [prefix('/port-and-host')],
        filters: [redirect({ port: 8083, hostname: 'example.org' })],
      },
      {
        matches: [prefix('/port-and-status')],
        filters: [redirect({ port: 8083, statusCode: 301 })],
      },
      {
        matches: [prefix('/port-and-host-and-status')],
        filters: [redirect({ port: 8083, hostname: 'example.org', statusCode: 302 })],
      },
    ],
    [
      ['/port', 302, 'http://echo:8083/port'],
      ['/port-and-host', 302, 'http://example.org:8083/port-and-host'],
      ['/port-and-status', 301, 'http://echo:8083/port-and-status'],
      ['/port-and-host-and-status', 302, 'http://example.org:8083/port-and-host-and-status'],
    ],
  ],
  [
    'MeshHTTPRouteRedirectPath',
    [
      {
        matches: [prefix('/original-prefix')],
        filters: [
          redirect({
            path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/replacement-prefix' },
          }),
        ],
      },
      {
        matches: [prefix('/full')],
        filters: [
          redirect({
            path: { type: 'ReplaceFullPath', replaceFullPath: '/full-path-replacement' },
          }),
        ],
      },
      {
        matches: [prefix('/path-and-host')],
        filters: [
          redirect({
            hostname: 'example.org',
            path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/replacement-prefix' },
          }),
        ],
      },
      {
        matches: [prefix('/path-and-status')],
        filters: [
          redirect({
            statusCode: 301,
            path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/replacement-prefix' },
          }),
        ],
      },
      {
        matches: [prefix('/full-path-and-host')],
        filters: [
          redirect({
            hostname: 'example.org',
            path: { type: 'ReplaceFullPath', replaceFullPath: '/replacement-full' },
          }),
        ],
      },
      {
        matches: [prefix('/full-path-and-status')],
        filters: [
          redirect({
            statusCode: 301,
            path: { type: 'ReplaceFullPath', replaceFullPath: '/replacement-full' },
          }),
        ],
      },
    ],
    [
      ['/original-prefix/lemon', 302, 'http://echo/replacement-prefix/lemon'],
      ['/full/path/original', 302, 'http://echo/full-path-replacement'],
      ['/path-and-host/lemon', 302, 'http://example.org/replacement-prefix/lemon'],
      ['/path-and-status/lemon', 301, 'http://echo/replacement-prefix/lemon'],
      ['/full-path-and-host/x', 302, 'http://example.org/replacement-full'],
      ['/full-path-and-status/x', 301, 'http://echo/replacement-full'],
    ],
  ],
  [
    'MeshHTTPRouteRewritePath',
    [
      {
        matches: [prefix('/prefix/one')],
        filters: [rewriteFilter('ReplacePrefixMatch', '/one')],
        ...v1,
      },
      {
        matches: [prefix('/strip-prefix')],
        filters: [rewriteFilter('ReplacePrefixMatch', '/')],
        ...v1,
      },
      {
        matches: [prefix('/full/one')],
        filters: [rewriteFilter('ReplaceFullPath', '/one')],
        ...v1,
      },
      {
        matches: [prefix('/full/rewrite-path-and-modify-headers')],
        filters: [
          rewriteFilter('ReplaceFullPath', '/test'),
          modify({ set: [{ name: 'X-Header-Set', value: 'set' }] }),
        ],
        ...v1,
      },
      {
        matches: [prefix('/prefix/rewrite-path-and-modify-headers')],
        filters: [
          rewriteFilter('ReplacePrefixMatch', '/prefix'),
          modify({ remove: ['X-Header-Remove'] }),
        ],
        ...v1,
      },
    ],
    [
      ['/prefix/one/two', 'echo-v1', '/one/two'],
      ['/strip-prefix/three', 'echo-v1', '/three'],
      ['/strip-prefix', 'echo-v1', '/'],
      ['/full/one/two', 'echo-v1', '/one'],
      ['/full/rewrite-path-and-modify-headers/test', 'echo-v1', '/test'],
      ['/prefix/rewrite-path-and-modify-headers/one', 'echo-v1', '/prefix/one'],
    ],
  ],
  [
    'MeshHTTPRouteQueryParamMatching',
    [
      { matches: [query('animal', 'whale')], ...v1 },
      { matches: [query('animal', 'dolphin')], ...v2 },
      { matches: [{ ...prefix('/path1'), ...query('animal', 'whale') }], ...v1 },
      { matches: [{ ...header('version', 'one'), ...query('animal', 'whale') }], ...v2 },
      {
        matches: [
          { ...prefix('/path3'), ...query('animal', 'shark') },
          { ...header('version', 'three'), ...prefix('/path4'), ...query('animal', 'kraken') },
        ],
        ...v1,
      },
      { matches: [prefix('/path5')], ...v1 },
      { matches: [query('animal', 'hydra')], ...v2 },
    ],
    [
      ['/?animal=whale', 'echo-v1'],
      ['/?animal=dolphin', 'echo-v2'],
      ['/?animal=dolphin&color=blue', 'echo-v2'],
      ...['/?color=blue', '/?animal=dog', '/?animal=whaledolphin', '/'].map((p): Row => [p, 404]),
      ['/path1?animal=whale', 'echo-v1'],
      ['/?animal=whale', 'echo-v2', undefined, with_({ version: 'one' })],
      ['/path3?animal=shark', 'echo-v1'],
      ['/path4?animal=kraken', 'echo-v1', undefined, with_({ version: 'three' })],
      ['/?animal=shark', 404],
      ['/path4?animal=kraken', 404],
      ['/path5?animal=hydra', 'echo-v1'],
    ],
  ],
  [
    'MeshHTTPRouteNamedRule',
    [
      { name: 'named', matches: [prefix('/named')], ...v1 },
      { matches: [prefix('/unnamed')], ...v2 },
    ],
    [
      ['/named', 'echo-v1'],
      ['/unnamed', 'echo-v2'],
    ],
  ],
  ...[303, 307, 308].map(
    (statusCode) =>
      [
        `MeshHTTPRoute${statusCode}Redirect`,
        [{ filters: [redirect({ hostname: 'example.org', statusCode })] }],
        [['/x?y=1', statusCode, 'http://example.org/x?y=1']],
      ] as const,
  ),
];

/** Tests of gateways whose behaviour a mesh has too (4.4), with a Service as parent. */
const ofGateways: typeof tables = [
  [
    'HTTPRouteExactPathMatching',
    [
      { matches: [path('Exact', '/one')], ...v1 },
      { matches: [path('Exact', '/two')], ...v2 },
    ],
    [
      ['/one', 'echo-v1'],
      ['/two', 'echo-v2'],
      ...['/two/', '/Two', '/one/example', '/'].map((p): Row => [p, 404]),
    ],
  ],
  [
    'HTTPRoutePathMatchOrder',
    [
      { matches: [prefix('/match')], ...v1 },
      { matches: [prefix('/match/longer')], ...v2 },
      { matches: [path('Exact', '/match/longer/exact')], backendRefs: [to('echo-v3')] },
    ],
    [
      ['/match', 'echo-v1'],
      ['/match/other', 'echo-v1'],
      ['/match/longer', 'echo-v2'],
      ['/match/longer/exact/not', 'echo-v2'],
      ['/match/longer/exact', 'echo-v3'],
    ],
  ],
  [
    'HTTPRouteHeaderMatching',
    [
      {
        matches: [
          { headers: [...named('version', 'two'), ...named('color', 'orange')] },
          header('version', 'one'),
        ],
        ...v1,
      },
      { matches: [header('version', 'two'), header('color', 'blue')], ...v2 },
    ],
    [
      ['/', 'echo-v1', undefined, with_({ Version: 'one' })],
      ['/', 'echo-v2', undefined, with_({ VERSION: 'two' })],
      ['/', 'echo-v1', undefined, with_({ version: 'two', color: 'orange' })],
      ['/', 'echo-v2', undefined, with_({ color: 'blue' })],
      ['/', 404, undefined, with_({ color: 'Blue' })],
      ['/', 404, undefined, with_({ color: 'orange' })],
      ['/', 404],
    ],
  ],
  [
    'HTTPRouteMethodMatching',
    [
      { matches: [{ method: 'POST' }], ...v1 },
      { matches: [{ method: 'GET' }], ...v2 },
      { matches: [prefix('/path')], ...v1 },
      { matches: [{ method: 'PUT' }, { ...header('version', 'one'), method: 'PATCH' }], ...v2 },
      { matches: [header('version', 'one')], ...v1 },
    ],
    [
      ['/', 'echo-v1', undefined, { method: 'POST' }],
      ['/', 'echo-v2'],
      ['/', 404, undefined, { method: 'HEAD' }],
      ['/path', 'echo-v1'],
      ['/', 'echo-v2', undefined, { method: 'PUT' }],
      ['/', 404, undefined, { method: 'PATCH' }],
      ['/', 'echo-v2', undefined, { method: 'PATCH', headers: { version: 'one' } }],
      ['/', 'echo-v2', undefined, { headers: { version: 'one' } }],
      ['/', 'echo-v1', undefined, { method: 'DELETE', headers: { version: 'one' } }],
    ],
  ],
  ['HTTPRouteNoBackendRefs', [{ matches: [prefix('/')] }], [['/', 500]]],
  [
    'HTTPRouteInvalidBackendRefUnknownKind',
    [
      { matches: [prefix('/good')], ...v1 },
      { backendRefs: [{ group: 'x.example', kind: 'Bucket', name: 'echo-v1', port: 80 }] },
    ],
    [
      ['/', 500],
      ['/good', 'echo-v1'],
    ],
  ],
];

describe('mesh conformance', () => {
  test('MeshBasic', async () => {
    configure();
    assert.equal((await ask('/')).status, 200);
  });

  for (const [name, rules, rows] of [...tables, ...ofGateways]) {
    test(name, async () => {
      configure(route(rules));
      await check(rows);
    });
  }

  const modifiers: readonly (readonly [
    string,
    object,
    Readonly<Record<string, string>>,
    Readonly<Record<string, string | undefined>>,
  ])[] = [
    [
      '/set',
      { set: [{ name: 'X-Header-Set', value: 'overwritten' }] },
      { 'x-header-set': 'one' },
      { 'x-header-set': 'overwritten' },
    ],
    ['/set', { set: [{ name: 'X-Header-Set', value: 'made' }] }, {}, { 'x-header-set': 'made' }],
    [
      '/add',
      { add: [{ name: 'X-Header-Add', value: 'new' }] },
      { 'x-header-add': 'old' },
      { 'x-header-add': 'old,new' },
    ],
    ['/add', { add: [{ name: 'X-Header-Add', value: 'new' }] }, {}, { 'x-header-add': 'new' }],
    [
      '/remove',
      { remove: ['X-HEADER-Remove'] },
      { 'x-header-remove': 'x', 'x-kept': 'y' },
      { 'x-header-remove': undefined, 'x-kept': 'y' },
    ],
  ];
  for (const [name, place] of [
    ['MeshHTTPRouteRequestHeaderModifier', 'rule'],
    ['MeshHTTPRouteBackendRequestHeaderModifier', 'backend'],
  ] as const) {
    test(name, async () => {
      for (const [target, change, sent, wanted] of modifiers) {
        const filters = [modify(change)];
        const rule =
          place === 'rule' ? { filters, ...v1 } : { backendRefs: [to('echo-v1', { filters })] };
        configure(route([{ matches: [prefix(target)], ...rule }]));
        const { seen } = await ask(target, with_(sent));
        for (const [h, v] of Object.entries(wanted)) {
          assert.equal(seen?.headers[h]?.replace(', ', ','), v, `${target} ${h}`);
        }
      }
    });
  }

  /** The share of v1 among a hundred. Upstream asks for 5 points over 500; here a chance of one in millions may fail. */
  const shareOfV1 = async (draw: () => Promise<string | undefined>): Promise<number> => {
    const all: (string | undefined)[] = [];
    for (let i = 0; i < 5; i++) {
      all.push(...(await Promise.all(Array.from({ length: 20 }, draw))));
    }
    return all.filter((a) => a === 'echo-v1').length / all.length;
  };
  /** Five standard deviations of a binomial with n = 100, p = 0.7. */
  const tolerance = 0.23;

  test('MeshHTTPRouteWeight', async () => {
    configure(
      route([{ backendRefs: [to('echo-v1', { weight: 70 }), to('echo-v2', { weight: 30 })] }]),
    );
    const share = await shareOfV1(async () => (await ask('/')).seen?.app);
    assert.ok(Math.abs(share - 0.7) < tolerance, String(share));
  });

  test('MeshConsumerRoute', async () => {
    const answer = route([{ filters: [respond('X-Header-Set', 'set')], ...v1 }]);
    const own = answer['spec'] as object;
    // The caller is of namespace shop: a route of another namespace is for others.
    configure(
      object(
        'HTTPRoute',
        'r',
        {
          spec: {
            ...own,
            parentRefs: [parent('echo-v1', { namespace: 'shop' })],
            rules: [
              {
                filters: [respond('X-Header-Set', 'set')],
                backendRefs: [to('echo-v1', { namespace: 'shop' })],
              },
            ],
          },
        },
        { namespace: 'consumer' },
      ),
    );
    const other = await ask('/', { service: 'echo-v1' });
    assert.deepEqual(
      [other.status, other.seen?.app, other.headers['x-header-set']],
      [200, 'echo-v1', undefined],
    );
    configure(
      route([{ filters: [respond('X-Header-Set', 'set')], ...v1 }], {
        parentRefs: [parent('echo-v1')],
      }),
    );
    assert.equal((await ask('/', { service: 'echo-v1' })).headers['x-header-set'], 'set');
  });

  const onV2 = route([{ filters: [respond('X-Header-Set', 'set')], ...v2 }], {
    parentRefs: [parent('echo-v2')],
  });
  test('M3 MeshFrontend', async () => {
    configure(onV2);
    assert.equal((await ask('/', { service: 'echo-v2' })).headers['x-header-set'], 'set');
    // A call to the pod's address is none to the service: it does not come through here.
    await assert.rejects(w.connect(`${at(12)}:8080`), /WAYPOINT_NOT_BOUND/);
  });

  test('MeshFrontendHostname', async () => {
    configure(onV2);
    const byAddress = await ask('/', { service: 'echo-v2', host: 'echo-v1' });
    assert.deepEqual([byAddress.seen?.app, byAddress.headers['x-header-set']], ['echo-v2', 'set']);
    const other = await ask('/', { service: 'echo-v1', host: 'echo-v2' });
    assert.deepEqual([other.seen?.app, other.headers['x-header-set']], ['echo-v1', undefined]);
  });

  test('MeshPorts', async () => {
    configure(
      route(
        [{ filters: [respond('X-Header-Set', 'v1')], ...v1 }],
        { parentRefs: [parent('echo-v1', { port: 80 })] },
        'one',
      ),
      route(
        [{ filters: [respond('X-Header-Set', 'v2')], ...v2 }],
        { parentRefs: [parent('echo-v2')] },
        'two',
      ),
    );
    const rows = [
      ['echo-v1', 80, 'v1'],
      ['echo-v1', 8080, undefined],
      ['echo-v2', 80, 'v2'],
      ['echo-v2', 8080, 'v2'],
    ] as const;
    for (const [service, port, wanted] of rows) {
      const got = await ask('/', { service, port });
      assert.deepEqual(
        [got.seen?.app, got.headers['x-header-set']],
        [service, wanted],
        `${service}:${port}`,
      );
    }
  });

  const grpcRoute = (rules: readonly object[]): KubeObject =>
    object('GRPCRoute', 'g', { spec: { parentRefs: [parent('echo', { port: 7070 })], rules } });
  const grpcTo = (name: string, more: object = {}): object => ({ name, port: 7070, ...more });
  test('MeshGRPCRouteRequestHeaderModifier', async () => {
    configure(
      grpcRoute([
        {
          matches: [header('case', 'set')],
          filters: [
            modify({ set: [{ name: 'x-header-set', value: 'set' }], remove: ['x-header-remove'] }),
          ],
          backendRefs: [grpcTo('echo-v1')],
        },
        {
          matches: [header('case', 'add')],
          filters: [modify({ add: [{ name: 'x-header-add', value: 'new' }] })],
          backendRefs: [grpcTo('echo-v2')],
        },
      ]),
    );
    const set = await grpc({ case: 'set', 'x-header-set': 'old', 'x-header-remove': 'x' });
    assert.deepEqual(
      [set.app, set.headers['x-header-set'], set.headers['x-header-remove']],
      ['echo-v1', 'set', undefined],
    );
    const add = await grpc({ case: 'add', 'x-header-add': 'old' });
    assert.deepEqual(
      [add.app, add.headers['x-header-add']?.replace(', ', ',')],
      ['echo-v2', 'old,new'],
    );
  });

  /** The application, or the gRPC status. */
  const grpcAsk = async (path: string, headers: Readonly<Record<string, string>> = {}) => {
    const answer = await grpcAnswer({ ':path': path, ...headers });
    const seen = answer['x-seen'];
    return seen === undefined ? answer['grpc-status'] : (JSON.parse(String(seen)) as Seen).app;
  };

  test('GRPCExactMethodMatching', async () => {
    const method = (name: string): object => ({ method: { service: 'echo.Echo', method: name } });
    configure(
      grpcRoute([
        { matches: [method('Say')], backendRefs: [grpcTo('echo-v1')] },
        { matches: [method('SayTwo')], backendRefs: [grpcTo('echo-v2')] },
      ]),
    );
    assert.equal(await grpcAsk('/echo.Echo/Say'), 'echo-v1');
    assert.equal(await grpcAsk('/echo.Echo/SayTwo'), 'echo-v2');
    assert.equal(await grpcAsk('/echo.Echo/SayThree'), '12');
    assert.equal(await grpcAsk('/echo.Echo/Say/More'), '12');
  });

  test('GRPCRouteHeaderMatching', async () => {
    const two = { headers: [...named('version', 'two'), ...named('color', 'orange')] };
    configure(
      grpcRoute([
        { matches: [header('version', 'one')], backendRefs: [grpcTo('echo-v1')] },
        { matches: [two], backendRefs: [grpcTo('echo-v2')] },
      ]),
    );
    const say = (headers: Readonly<Record<string, string>>) => grpcAsk('/echo.Echo/Say', headers);
    assert.equal(await say({ version: 'one' }), 'echo-v1');
    assert.equal(await say({ version: 'two', color: 'orange' }), 'echo-v2');
    assert.equal(await say({ version: 'two' }), '12');
    assert.equal(await say({}), '12');
  });

  test('HTTPRouteMatchingAcrossRoutes', async () => {
    configure(
      route([{ matches: [prefix('/'), header('version', 'one')], ...v1 }], {}, 'r1'),
      route(
        [{ matches: [prefix('/v2'), { ...prefix('/'), ...header('version', 'two') }], ...v2 }],
        {},
        'r2',
      ),
    );
    await check([
      ['/', 'echo-v1'],
      ['/example', 'echo-v1'],
      ['/', 'echo-v1', undefined, with_({ version: 'one' })],
      ['/v2', 'echo-v2'],
      ['/v2/', 'echo-v2'],
      ['/v2/example', 'echo-v2'],
      ['/', 'echo-v2', undefined, with_({ version: 'two' })],
      ['/v2example', 'echo-v1'],
    ]);
  });

  test('MeshGRPCRouteWeight', async () => {
    const refs = [
      grpcTo('echo-v1', { weight: 70 }),
      grpcTo('echo-v2', { weight: 30 }),
      grpcTo('none', { weight: 0 }),
    ];
    configure(grpcRoute([{ backendRefs: refs }]));
    const share = await shareOfV1(async () => (await grpc()).app);
    assert.ok(Math.abs(share - 0.7) < tolerance, String(share));
  });

  test('M16 HTTPRouteInvalidNonExistentBackendRef', async () => {
    configure(route([{ backendRefs: [to('none')] }]));
    await check([['/', 500]]);
  });

  const tcpRoute = (name: string, refs: readonly object[], created: string): KubeObject => {
    const made = object('TCPRoute', name, {
      spec: { parentRefs: [parent('echo', { port: 9090 })], rules: [{ backendRefs: refs }] },
    });
    return { ...made, metadata: { ...made.metadata, creationTimestamp: created } };
  };
  const tcpTo = (name: string, weight: number): object => ({ name, port: 9090, weight });
  const connections = async (n: number): Promise<Map<string, number>> => {
    const counts = new Map<string, number>();
    for (let i = 0; i < n; i++) {
      const name = await w.exchange(`${vips['echo'] ?? ''}:9090`, '');
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  };
  test('M15 TCPRouteWeightedRouting: 3:1:1 over 60 connections, all used, the heaviest most', async () => {
    const refs = [tcpTo('echo-v1', 3), tcpTo('echo-v2', 1), tcpTo('echo-v3', 1)];
    configure(tcpRoute('t', refs, '2026-01-01T00:00:00Z'));
    const counts = await connections(60);
    const [one = 0, two = 0, three = 0] = ['echo-v1', 'echo-v2', 'echo-v3'].map(
      (n) => counts.get(n) ?? 0,
    );
    assert.equal(one + two + three, 60);
    assert.ok(
      one > 0 && two > 0 && three > 0 && one > Math.max(two, three),
      [one, two, three].join(),
    );
  });

  const tlsRoute = (name: string, hostnames: readonly string[], refs: readonly object[]) =>
    object('TLSRoute', name, {
      spec: {
        parentRefs: [parent('echo', { port: 9443 })],
        hostnames,
        rules: [{ backendRefs: refs }],
      },
    });
  const tlsTo = (name: string, weight = 1): object => ({ name, port: 9443, weight });
  /** Who answers behind the server name; empty = the connection was closed. */
  const secure = async (servername: string | undefined, port = 9443): Promise<string> => {
    const under = await w.connect(`${vips['echo'] ?? ''}:${port}`);
    const socket = tls.connect({
      socket: under,
      rejectUnauthorized: false,
      ...(servername !== undefined && { servername }),
    });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await new Promise<void>((resolve) => {
      socket.on('error', () => resolve());
      socket.on('end', () => resolve());
      under.on('close', () => resolve());
    });
    under.destroy();
    return text;
  };
  for (const port of [9443, 9444]) {
    test(`TLSRouteSimpleSameNamespace, port ${port === 9443 ? 'of TLS' : 'detected'}: by server name, the most specific one; what fits none is closed`, async () => {
      const at = (o: KubeObject): KubeObject => {
        const spec = { ...(o['spec'] as object), parentRefs: [parent('echo', { port })] };
        return { ...o, spec };
      };
      configure(
        at(tlsRoute('wide', ['*.example.com'], [tlsTo('echo-v1')])),
        at(tlsRoute('exact', ['Two.example.com', 'b.example.org'], [tlsTo('echo-v2')])),
      );
      for (const [name, wanted] of [
        ['one.example.com', 'echo-v1'],
        ['a.b.example.com', 'echo-v1'],
        ['two.example.com', 'echo-v2'],
        ['b.example.org', 'echo-v2'],
        ['example.com', ''],
        ['elsewhere.org', ''],
        [undefined, ''],
      ] as const) {
        assert.equal(await secure(name, port), wanted, name ?? 'none');
      }
    });
  }

  test('TLSRoute: what is not TLS is closed, and the reason is told', async () => {
    configure(tlsRoute('t', ['a.example.com'], [tlsTo('echo-v1')]));
    const before = w.lines.length;
    assert.equal(await w.exchange(`${vips['echo'] ?? ''}:9443`, 'hello, who is there?'), '');
    assert.match(w.lines.slice(before).join(), /NO_ROUTE/);
  });

  test('TLSRoute: weights per connection, 0 is never taken', async () => {
    const refs = [tlsTo('echo-v1'), tlsTo('echo-v2'), tlsTo('echo-v3', 0)];
    configure(tlsRoute('t', ['a.example.com'], refs));
    const counts = new Map<string, number>();
    for (let i = 0; i < 30; i++) {
      const name = await secure('a.example.com');
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const [one = 0, two = 0] = ['echo-v1', 'echo-v2'].map((n) => counts.get(n) ?? 0);
    assert.equal(one + two, 30);
    assert.ok(one > 0 && two > 0, `${one} ${two}`);
  });

  test('TLSRouteInvalidBackendRefNonexistent: the connection is closed', async () => {
    configure(tlsRoute('t', ['a.example.com'], [tlsTo('none')]));
    assert.equal(await secure('a.example.com'), '');
  });

  test('TLSRoute stands before TCPRoute', async () => {
    const tcp = object('TCPRoute', 'tcp', {
      spec: {
        parentRefs: [parent('echo', { port: 9443 })],
        rules: [{ backendRefs: [tlsTo('echo-v3')] }],
      },
    });
    configure(tcp);
    assert.equal(await secure('a.example.com'), 'echo-v3');
    configure(tcp, tlsRoute('t', ['a.example.com'], [tlsTo('echo-v1')]));
    assert.equal(await secure('a.example.com'), 'echo-v1');
    assert.equal(await secure('b.example.com'), '');
  });

  test('M15 TCPRouteMultipleRoutesAttachment: the oldest carries', async () => {
    configure(
      tcpRoute('young', [tcpTo('echo-v2', 1)], '2026-02-01T00:00:00Z'),
      tcpRoute('old', [tcpTo('echo-v1', 1)], '2026-01-01T00:00:00Z'),
    );
    assert.deepEqual([...(await connections(5))], [['echo-v1', 5]]);
  });
});
