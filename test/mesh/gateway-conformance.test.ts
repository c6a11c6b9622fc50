// Tests of Gateway API's gateways whose behaviour a mesh has too (waypoint-l7.md 4.4), by upstream's names and with a Service
// as parent: those that need an application of their own. The others stand in conformance.test.ts. From the objects through
// the control plane's translation to a real waypoint and real applications.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { shopObject as object } from '../../istiod-lite/gateway/testkit.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { configureFrom } from '../kit/objects.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const names = ['echo', 'v1', 'v2', 'h2c'] as const;
type Name = (typeof names)[number];
const vips: Readonly<Record<Name, string>> = {
  echo: at(101),
  v1: at(102),
  v2: at(103),
  h2c: at(104),
};

interface Seen {
  readonly app: Name;
  readonly host: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
}
type Handler = (req: http.IncomingMessage, res: http.ServerResponse) => void;
let w: TestWaypoint;
let seen: Seen[] = [];
/** What `v1` does instead of telling what it saw, one for each request; then it tells again. */
let script: Handler[] = [];
const stops: (() => void)[] = [];

const base: readonly KubeObject[] = names.map((name) => {
  const appProtocol = name === 'h2c' ? 'kubernetes.io/h2c' : 'http';
  const ports = [{ name: 'http', port: 80, targetPort: 80, appProtocol }];
  return object('Service', name, { spec: { clusterIP: vips[name], ports } });
});

function configure(rules: readonly object[]): void {
  const parentRefs = [{ group: '', kind: 'Service', name: 'echo' }];
  configureFrom(w, [...base, object('HTTPRoute', 'r', { spec: { parentRefs, rules } })]);
}

async function app(name: Name, server: net.Server): Promise<string> {
  const ip = at(11 + names.indexOf(name));
  await new Promise<void>((resolve) => server.listen(0, ip, resolve));
  stops.push(() => {
    server.close();
    if (server instanceof http.Server) server.closeAllConnections();
  });
  return `${ip}:${(server.address() as net.AddressInfo).port}`;
}

before(async () => {
  w = await startTestWaypoint(at(1));
  const told = (name: Name, host: string, path: string, headers: http.IncomingHttpHeaders) => {
    const one: Seen = { app: name, host, path, headers };
    seen.push(one);
    return JSON.stringify(one);
  };
  const echo = (name: Name) =>
    http.createServer((req, res) => {
      const next = name === 'v1' ? script.shift() : undefined;
      if (next) return next(req, res);
      res.setHeader('x-header-set', 'of the app');
      res.setHeader('x-header-add', 'of the app');
      res.setHeader('x-header-remove', 'of the app');
      res.end(told(name, req.headers.host ?? '', req.url ?? '', req.headers));
    });
  w.service('v1', vips.v1, 80, [await app('v1', echo('v1'))]);
  w.service('v2', vips.v2, 80, [await app('v2', echo('v2'))]);
  const h2c = http2.createServer((req, res) =>
    res.end(told('h2c', req.authority, req.url, req.headers as http.IncomingHttpHeaders)),
  );
  w.service('h2c', vips.h2c, 80, [await app('h2c', h2c)]);
  w.service('echo', vips.echo, 80, [await app('echo', echo('echo'))]);
});
beforeEach(() => {
  seen = [];
  script = [];
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

async function ask(path = '/', lines: readonly string[] = []) {
  const more = lines.map((l) => `${l}\r\n`).join('');
  const text = await w.exchange(
    `${vips.echo}:80`,
    `GET ${path} HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n${more}\r\n`,
  );
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const json = /\{.*\}/s.exec(body)?.[0];
  const header = (name: string): string | undefined =>
    new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1];
  const got = json === undefined ? undefined : (JSON.parse(json) as Seen);
  return { status: Number(head.split(' ')[1]), header, seen: got };
}
const to = (name: Name, more: object = {}): object => ({ name, port: 80, ...more });
const prefix = (value: string): object => ({ matches: [{ path: { type: 'PathPrefix', value } }] });
const filter = (type: string, what: object): object => ({
  type,
  [type.charAt(0).toLowerCase() + type.slice(1)]: what,
});
const rewrite = (urlRewrite: object): object => ({ type: 'URLRewrite', urlRewrite });
const mirror = (name: Name, more: object = {}): object =>
  filter('RequestMirror', { backendRef: to(name), ...more });

test('HTTPRouteResponseHeaderModifier', async () => {
  const change = {
    set: [{ name: 'X-Header-Set', value: 'of the route' }],
    add: [{ name: 'X-Header-Add', value: 'of the route' }],
    remove: ['x-Header-remove'],
  };
  configure([{ filters: [filter('ResponseHeaderModifier', change)], backendRefs: [to('v1')] }]);
  const { status, header } = await ask();
  assert.equal(status, 200);
  assert.equal(header('x-header-set'), 'of the route');
  assert.equal(header('x-header-add'), 'of the app,of the route');
  assert.equal(header('x-header-remove'), undefined);
});

test('HTTPRouteRewriteHost', async () => {
  configure([
    {
      ...prefix('/one'),
      filters: [rewrite({ hostname: 'one.example.org' })],
      backendRefs: [to('v1')],
    },
    { ...prefix('/two'), backendRefs: [to('v1')] },
  ]);
  assert.equal((await ask('/one')).seen?.host, 'one.example.org');
  assert.equal((await ask('/two')).seen?.host, 'echo');
});

test('HTTPRouteBackendURLRewrite', async () => {
  const path = { type: 'ReplacePrefixMatch', replacePrefixMatch: '/new' };
  const own = { filters: [rewrite({ hostname: 'v1.example.org', path })] };
  for (const [weights, expected] of [
    [
      [1, 0],
      ['v1', 'v1.example.org', '/new/x?q'],
    ],
    [
      [0, 1],
      ['v2', 'echo', '/old/x?q'],
    ],
  ] as const) {
    const backendRefs = [
      to('v1', { ...own, weight: weights[0] }),
      to('v2', { weight: weights[1] }),
    ];
    configure([{ ...prefix('/old'), backendRefs }]);
    const { seen: got } = await ask('/old/x?q');
    assert.deepEqual([got?.app, got?.host, got?.path], expected);
  }
});

test('HTTPRouteBackendRequestRedirect', async () => {
  const own = { filters: [filter('RequestRedirect', { hostname: 'v1.example.org' })] };
  for (const [weights, status, location] of [
    [[1, 0], 302, 'http://v1.example.org/old'],
    [[0, 1], 200, undefined],
  ] as const) {
    const backendRefs = [
      to('v1', { ...own, weight: weights[0] }),
      to('v2', { weight: weights[1] }),
    ];
    configure([{ backendRefs }]);
    const got = await ask('/old');
    assert.deepEqual([got.status, got.header('location')], [status, location]);
  }
});

test('filters that a backendRef cannot have: the rule answers 500', async () => {
  configure([{ backendRefs: [to('v1', { filters: [mirror('v2')] })] }]);
  assert.equal((await ask()).status, 500);
});

test('HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors', async () => {
  const both = filter('RequestHeaderModifier', { set: [{ name: 'x-both', value: 'yes' }] });
  configure([{ filters: [both, mirror('v2'), mirror('h2c')], backendRefs: [to('v1')] }]);
  assert.equal((await ask('/m')).seen?.app, 'v1');
  await eventually(() => seen.length === 3, 'all have seen it');
  assert.deepEqual(
    seen.map((s) => `${s.app} ${s.path} ${String(s.headers['x-both'])}`).toSorted(),
    ['h2c /m yes', 'v1 /m yes', 'v2 /m yes'],
  );
});

for (const [name, share, part] of [
  ['percent 20', { percent: 20 }, 0.2],
  ['fraction 25/50', { fraction: { numerator: 25, denominator: 50 } }, 0.5],
] as const) {
  test(`HTTPRouteRequestPercentageMirror: ${name}, within four standard deviations`, async () => {
    const n = 200;
    configure([{ filters: [mirror('v2', share)], backendRefs: [to('v1')] }]);
    for (let i = 0; i < n; i++) assert.equal((await ask()).status, 200);
    const copies = (): number => seen.filter((s) => s.app === 'v2').length;
    const off = 4 * Math.sqrt(n * part * (1 - part));
    await eventually(() => copies() >= n * part - off, `${n * part} copies`);
    // One that is never mirrored comes after them all.
    configure([{ backendRefs: [to('v2')] }]);
    await ask('/last');
    const before = seen.findIndex((s) => s.path === '/last');
    assert.ok(before - n <= n * part + off, `${before - n} copies`);
  });
}

const answer =
  (status: number): Handler =>
  (_req, res) =>
    void res.writeHead(status).end();
const drop: Handler = (req) => void req.socket.destroy();
/** Never answers; the waypoint's own time decides. */
const hang: Handler = () => {};

test('HTTPRouteTimeoutRequest, HTTPRouteTimeoutBackendRequest', async () => {
  for (const timeouts of [{ request: '500ms' }, { request: '9s', backendRequest: '500ms' }]) {
    configure([{ timeouts, backendRefs: [to('v1')] }]);
    assert.equal((await ask()).status, 200);
    script = [hang, hang, hang];
    assert.equal((await ask()).status, 504);
    script = [];
  }
  configure([{ timeouts: { request: '0s' }, backendRefs: [to('v1')] }]);
  assert.equal((await ask()).status, 200);
});

for (const [name, retry, first, status] of [
  ['two failures, then success', { codes: [500], attempts: 3 }, [500, 500], 200],
  ['four failures', { codes: [500], attempts: 3 }, [500, 500, 500, 500], 500],
  ['a status that is not named', { codes: [500], attempts: 3 }, [503], 503],
  ['one of several codes', { codes: [500, 502, 503, 504], attempts: 2 }, [502], 200],
  ['the last answer is told', { codes: [500, 502, 503, 504], attempts: 2 }, [500, 502, 504], 504],
] as const) {
  test(`HTTPRouteRetry: ${name}`, async () => {
    configure([{ retry: { ...retry, backoff: '1ms' }, backendRefs: [to('v1')] }]);
    script = first.map(answer);
    assert.equal((await ask()).status, status);
  });
}

for (const [name, failures, statuses] of [
  ['two errors, then success', 2, [200]],
  ['four errors', 4, [500, 503]],
] as const) {
  test(`HTTPRouteRetryConnectionError: ${name}`, async () => {
    configure([{ retry: { attempts: 3, backoff: '1ms' }, backendRefs: [to('v1')] }]);
    script = Array.from({ length: failures }, () => drop);
    const { status } = await ask();
    assert.ok((statuses as readonly number[]).includes(status), String(status));
  });
}

for (const [name, timeouts, slow, status] of [
  ['two slow tries, then a fast one', { backendRequest: '400ms' }, 2, 200],
  ['three slow tries', { backendRequest: '400ms' }, 3, 504],
  ['the request’s time cuts earlier', { request: '600ms', backendRequest: '400ms' }, 2, 504],
] as const) {
  test(`HTTPRouteRetryWithTimeouts: ${name}`, async () => {
    configure([{ retry: { attempts: 2, backoff: '1ms' }, timeouts, backendRefs: [to('v1')] }]);
    script = Array.from({ length: slow }, () => hang);
    assert.equal((await ask()).status, status);
  });
}

test('HTTPRouteBackendProtocolH2C', async () => {
  configure([{ backendRefs: [to('h2c')] }]);
  assert.equal((await ask('/p')).seen?.app, 'h2c');
});
