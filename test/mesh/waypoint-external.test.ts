// External authorizers asked by a waypoint (waypoint-l7.md 6.9): a real gRPC server and a real HTTP server that allow,
// deny, change, are slow, lie or are not there.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import grpc from '@grpc/grpc-js';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
let w: TestWaypoint;

interface Seen {
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}
let seen: Seen[] = [];
const app = http.createServer((req, res) => {
  let body = '';
  req.on('data', (c: Buffer) => (body += c.toString()));
  req.on('end', () => {
    seen.push({ url: req.url ?? '', headers: req.headers, body });
    res.writeHead(200, { 'x-app': '1' }).end('hello');
  });
});

// --- the authorizers

type Answer = Draft<wire.CheckResponse> | 'never' | 'garbage' | 'error';
let answer: Answer = {};
let asked: wire.CheckRequest[] = [];
const authorizer = new grpc.Server();
authorizer.register(
  '/envoy.service.auth.v3.Authorization/Check',
  (
    call: grpc.ServerUnaryCall<wire.CheckRequest, Answer>,
    done: grpc.sendUnaryData<Answer>,
  ): void => {
    asked.push(call.request);
    if (answer === 'never') return;
    if (answer === 'error') return done({ code: grpc.status.UNAVAILABLE, details: 'broken' });
    done(null, answer);
  },
  (a: Answer) =>
    a === 'garbage'
      ? Buffer.from('\xff\xff\xff', 'latin1')
      : encode('envoy.service.auth.v3.CheckResponse', a as Draft<wire.CheckResponse>),
  (b: Buffer) => decode('envoy.service.auth.v3.CheckRequest', b),
  'unary',
);

let httpAnswer: (req: http.IncomingMessage, res: http.ServerResponse) => void = (_req, res) =>
  void res.end();
let questions: Seen[] = [];
const httpAuthorizer = http.createServer((req, res) => {
  let body = '';
  req.on('data', (c: Buffer) => (body += c.toString()));
  req.on('end', () => {
    questions.push({ url: `${req.method} ${req.url}`, headers: req.headers, body });
    httpAnswer(req, res);
  });
});

const hostname = (name: string): string => `${name}.shop.svc.cluster.local`;
const provider = (more: Draft<wire.L7AuthProvider> = {}): Draft<wire.L7AuthProvider> => ({
  name: 'grpc',
  namespace: 'shop',
  hostname: hostname('authorizer'),
  port: 80,
  timeoutMs: 5_000,
  ...more,
});
const custom = (more: Draft<wire.L7AccessPolicy> = {}): Draft<wire.L7AccessPolicy> => ({
  key: 'shop/ask',
  action: L7PolicyAction.CUSTOM,
  provider: 'grpc',
  rules: [{ to: [{ paths: { any: ['/asked*'] } }] }],
  ...more,
});
function configure(
  p: Draft<wire.L7AuthProvider>,
  policies: readonly Draft<wire.L7AccessPolicy>[] = [custom()],
  more: Draft<wire.L7ServiceConfig> = {},
): void {
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    providers: [p],
    policies,
    ...more,
  });
}
async function ask(request: string, body = ''): Promise<{ status: number; text: string }> {
  [seen, asked, questions] = [[], [], []];
  const [line = '', ...headers] = request.split('\n');
  const lines = [`${line} HTTP/1.1`, 'host: web', 'connection: close', ...headers];
  if (body !== '') lines.push(`content-length: ${body.length}`);
  const text = await w.exchange(`${vip}:80`, `${lines.join('\r\n')}\r\n\r\n${body}`);
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text };
}
/** Questions without an answer: those that were refused, those that were let on. */
async function failures(name = 'grpc'): Promise<[number, number]> {
  const { body } = await w.metrics.render(undefined);
  const count = (outcome: string): number => {
    const line = `ambient_waypoint_checks_total{provider="${name}",outcome="${outcome}"} `;
    return Number(
      body
        .split('\n')
        .find((l) => l.startsWith(line))
        ?.slice(line.length) ?? 0,
    );
  };
  return [count('failed-closed'), count('failed-open')];
}
const listen = (server: http.Server | net.Server): Promise<string> =>
  new Promise((resolve) => {
    server.listen(0, at(10), () =>
      resolve(`${at(10)}:${(server.address() as net.AddressInfo).port}`),
    );
  });

before(async () => {
  w = await startTestWaypoint(at(1));
  w.service('web', vip, 80, [await listen(app)]);
  const port = await new Promise<number>((resolve, reject) => {
    const insecure = grpc.ServerCredentials.createInsecure();
    authorizer.bindAsync(`${at(10)}:0`, insecure, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  w.service('authorizer', at(101), 80, [`${at(10)}:${port}`]);
  w.service('httpauth', at(102), 80, [await listen(httpAuthorizer)]);
  w.service('gone', at(103), 80, [`${at(11)}:1`]);
});
after(async () => {
  await w.stop();
  authorizer.forceShutdown();
  for (const s of [app, httpAuthorizer]) {
    s.closeAllConnections();
    s.close();
  }
});

describe('gRPC', () => {
  test('asked where a rule matches, with both principals; told what to change', async () => {
    configure(provider());
    answer = {
      status: { code: 0 },
      okResponse: {
        headers: [
          { header: { key: 'X-User', value: 'anna' } },
          { header: { key: 'x-more', value: '2' }, append: { value: true } },
          { header: { key: 'host', value: 'evil' } },
          { header: { key: ':path', value: '/evil' } },
          { header: { key: 'content-length', value: '7' } },
        ],
        headersToRemove: ['cookie', 'host'],
        responseHeadersToAdd: [{ header: { key: 'x-checked', value: 'yes' } }],
        queryParametersToSet: [{ key: 'u', value: 'a b' }],
        queryParametersToRemove: ['secret'],
      },
    };
    const r = await ask('GET /asked?secret=1&k=2\nx-user: root\nx-more: 1\ncookie: c');
    assert.equal(r.status, 200);
    assert.match(r.text, /^x-checked: yes\r$/im);
    assert.equal(seen[0]?.url, '/asked?k=2&u=a+b');
    const { headers } = seen[0] as Seen;
    assert.equal(headers['x-user'], 'anna');
    assert.equal(headers['x-more'], '1, 2');
    assert.equal(headers.cookie, undefined);
    assert.equal(headers.host, 'web');
    const a = asked[0]?.attributes;
    assert.equal(a?.source?.principal, 'spiffe://cluster.local/ns/shop/sa/client');
    assert.equal(a?.destination?.principal, 'spiffe://cluster.local/ns/shop/sa/waypoint');
    assert.equal(a?.destination?.address?.socketAddress?.address, vip);
    const { http: h } = a?.request ?? {};
    assert.equal(h?.method, 'GET');
    assert.equal(h?.path, '/asked?secret=1&k=2');
    assert.equal(h?.host, 'web');
    assert.equal(h?.headers['cookie'], 'c');
    assert.equal(h?.protocol, 'HTTP/1.1');
    assert.equal((await ask('GET /other')).status, 200);
    assert.equal(asked.length, 0);
  });

  test('denied: its status, headers and body; by default 403', async () => {
    answer = {
      status: { code: 7 },
      deniedResponse: {
        status: { code: 302 },
        headers: [{ header: { key: 'location', value: '/login' } }],
        body: 'go there',
      },
    };
    const r = await ask('GET /asked');
    assert.equal(r.status, 302);
    assert.match(r.text, /^location: \/login\r$/im);
    assert.match(r.text, /go there$/);
    assert.equal(seen.length, 0);
    answer = { status: { code: 16 } };
    assert.equal((await ask('GET /asked')).status, 403);
    const line = w.lines.findLast((l) => l.includes('ext_authz_denied'));
    assert.match(line ?? '', /UAEX/);
    assert.match(line ?? '', /shop\/ask/);
  });

  const lies: readonly (readonly [string, Answer])[] = [
    ['an error', 'error'],
    ['bytes that are no message', 'garbage'],
    ['allowed and denied at once', { status: { code: 0 }, deniedResponse: {} }],
    [
      'a status that ends nothing',
      { status: { code: 7 }, deniedResponse: { status: { code: 100 } } },
    ],
    [
      'a header with a line end',
      {
        status: { code: 0 },
        okResponse: { headers: [{ header: { key: 'x', value: 'a\r\nb: c' } }] },
      },
    ],
    [
      'a name that is none',
      { status: { code: 0 }, okResponse: { headers: [{ header: { key: 'x y', value: 'a' } }] } },
    ],
  ];
  for (const [name, lie] of lies) {
    test(`lying: ${name}: as configured, closed or open`, async () => {
      answer = lie;
      const before = await failures();
      configure(provider({ statusOnError: 503 }));
      const closed = await ask('GET /asked');
      assert.equal(closed.status, 503);
      assert.equal(seen.length, 0);
      configure(provider({ failOpen: true }));
      assert.equal((await ask('GET /asked')).status, 200);
      assert.equal(seen.length, 1);
      assert.deepEqual(await failures(), [before[0] + 1, before[1] + 1]);
      assert.ok(w.lines.some((l) => l.includes('external authorizer gave no answer')));
    });
  }

  test('slow: cut at its limit; others go on meanwhile; a metric and a line', async () => {
    answer = 'never';
    configure(provider({ timeoutMs: 300 }));
    const slow = ask('GET /asked');
    const other = await w.exchange(
      `${vip}:80`,
      'GET /free HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n',
    );
    assert.match(other, /^HTTP\/1\.1 200/);
    assert.equal((await slow).status, 403);
    assert.match(
      (await w.metrics.render(undefined)).body,
      /ambient_waypoint_checks_total\{provider="grpc",outcome="failed-closed"\} [1-9]/,
    );
    assert.ok(w.lines.some((l) => l.includes('external authorizer gave no answer')));
  });

  test('down: as configured; not defined: refused even where it would fail open', async () => {
    const gone = { hostname: hostname('gone'), name: 'down' };
    const policies = [custom({ provider: 'down' })];
    configure(provider(gone), policies);
    assert.equal((await ask('GET /asked')).status, 403);
    configure(provider({ ...gone, failOpen: true }), policies);
    assert.equal((await ask('GET /asked')).status, 200);
    assert.deepEqual(await failures('down'), [1, 1]);
    assert.ok(w.lines.some((l) => /external authorizer gave no answer.*down/.test(l)));
    configure(provider({ hostname: hostname('nowhere'), failOpen: true }));
    assert.equal((await ask('GET /asked')).status, 200);
    configure(provider({ broken: true, failOpen: true }));
    assert.equal((await ask('GET /asked')).status, 403);
  });

  test('L17 a body up to its limit is shown and arrives whole all the same', async () => {
    answer = { status: { code: 0 } };
    configure(provider({ maxBody: 8 }));
    assert.equal((await ask('POST /asked', '12345678')).status, 200);
    assert.equal(asked[0]?.attributes?.request?.http?.body, '12345678');
    assert.equal(
      asked[0]?.attributes?.request?.http?.headers['x-envoy-auth-partial-body'],
      'false',
    );
    assert.equal(seen[0]?.body, '12345678');
    const big = await ask('POST /asked', '123456789');
    assert.equal(big.status, 413);
    assert.equal(asked.length, 0);
    configure(provider({ maxBody: 8, partialBody: true, bodyAsBytes: true }));
    const long = 'x'.repeat(300_000);
    assert.equal((await ask('POST /asked', long)).status, 200);
    const h = asked[0]?.attributes?.request?.http;
    assert.equal(Buffer.from(h?.rawBody ?? []).toString(), 'xxxxxxxx');
    assert.equal(h?.headers['x-envoy-auth-partial-body'], 'true');
    assert.equal(seen[0]?.body.length, long.length);
    assert.equal((await ask('GET /asked')).status, 200);
  });

  test('L18 a compressed body is shown as it came: nothing of it is unpacked', async () => {
    answer = { status: { code: 0 } };
    configure(provider({ maxBody: 16, partialBody: true, bodyAsBytes: true }));
    const bomb = gzipSync(Buffer.alloc(8 << 20)).toString('latin1');
    const r = await ask('POST /asked\ncontent-encoding: gzip', bomb);
    assert.equal(r.status, 200);
    const shown = Buffer.from(asked[0]?.attributes?.request?.http?.rawBody ?? []);
    assert.equal(shown.toString('latin1'), bomb.slice(0, 16));
    assert.equal(seen[0]?.headers['content-length'], String(bomb.length));
  });

  test('CUSTOM, then DENY, then ALLOW; a token is checked after it, or before where that is wanted', async () => {
    answer = { status: { code: 0 } };
    const deny = { key: 'shop/no', action: L7PolicyAction.DENY, rules: [{}] };
    configure(provider(), [custom(), deny]);
    assert.match((await ask('GET /asked')).text, /RBAC: access denied$/);
    assert.equal(asked.length, 1);
    answer = { status: { code: 7 }, deniedResponse: { body: 'first' } };
    assert.match((await ask('GET /asked')).text, /first$/);
    const jwtRules = [{ issuer: 'i', jwks: '' }];
    const bad = 'GET /asked\nauthorization: Bearer x';
    configure(provider(), [custom()], { jwtRules });
    assert.equal((await ask(bad)).status, 403);
    configure(provider(), [custom({ afterTokens: true })], { jwtRules });
    assert.equal((await ask(bad)).status, 401);
    assert.equal(asked.length, 0);
    assert.equal((await ask('GET /asked')).status, 403);
  });
});

describe('what an authorizer says for those who come later', () => {
  const say = (fields: Record<string, wire.GoogleValue>): Answer => ({
    status: { code: 0 },
    dynamicMetadata: { fields },
  });
  const list = (...all: string[]): wire.GoogleValue => ({
    listValue: { values: all.map((stringValue) => ({ stringValue })) },
  });
  const when = (key: string, ...any: string[]) => ({
    when: [{ key: `experimental.envoy.filters.http.ext_authz[${key}]`, values: { any } }],
  });
  const allow = (rule: Draft<wire.L7AccessRule>) => [
    custom(),
    { key: 'shop/said', action: L7PolicyAction.ALLOW, rules: [rule] },
  ];

  test('policies judge by it: a text, a member of a list, nothing of it from callers', async () => {
    answer = say({ tier: { stringValue: 'gold' }, groups: list('a', 'staff') });
    const rows: readonly (readonly [Draft<wire.L7AccessRule>, number])[] = [
      [when('tier', 'gold'), 200],
      [when('tier', 'go*'), 200],
      [when('tier', 'silver'), 403],
      [when('tier', '[gold]'), 403],
      [when('groups', '[staff]'), 200],
      [when('groups', 'staff'), 403],
      [when('groups', '[other]'), 403],
      [when('nothing', '*'), 403],
      [when('__proto__', '*'), 403],
    ];
    for (const [rule, status] of rows) {
      configure(provider(), allow(rule));
      assert.equal((await ask('GET /asked\ntier: gold')).status, status, JSON.stringify(rule));
    }
    const deny = { key: 'shop/no', action: L7PolicyAction.DENY, rules: [when('tier', 'gold')] };
    configure(provider(), [custom(), deny]);
    assert.equal((await ask('GET /asked')).status, 403);
    assert.equal((await ask('GET /other')).status, 200, 'nobody was asked');
  });

  test('the log has it, of refusals too, and no line of its own comes out of it', async () => {
    answer = {
      status: { code: 7 },
      dynamicMetadata: { fields: { why: { stringValue: 'a\r\nb' }, n: { numberValue: 7 } } },
    };
    configure(provider());
    assert.equal((await ask('GET /asked?told')).status, 403);
    const line = w.lines.findLast((l) => l.includes('/asked?told')) ?? '';
    assert.match(line, /authorizer=.*why.*n/);
    assert.doesNotMatch(line.trimEnd(), /[\r\n]/);
  });
});

describe('opaque connections', () => {
  const echo = net.createServer((s) => void s.on('error', () => {}).pipe(s));
  before(async () => w.service('tcp', at(104), 80, [await listen(echo)]));
  after(() => void echo.close());
  const open = (p: Draft<wire.L7AuthProvider>, policy: Draft<wire.L7AccessPolicy> = custom()) =>
    w.configure('tcp', {
      ports: [{ port: 80, protocol: L7PortProtocol.TCP }],
      providers: [p],
      policies: [policy],
    });
  const bytes = (): Promise<string> =>
    w.exchange(`${at(104)}:80`, 'ping', (t) => t === 'ping').catch((e: Error) => e.message);

  test('asked who calls and where to; allowed, or refused with the policy named', async () => {
    [asked, answer] = [[], { status: { code: 0 } }];
    open(provider());
    assert.equal(await bytes(), 'ping');
    const a = asked[0]?.attributes;
    assert.equal(a?.source?.principal, 'spiffe://cluster.local/ns/shop/sa/client');
    assert.equal(a?.destination?.address?.socketAddress?.address, at(104));
    assert.equal(a?.destination?.address?.socketAddress?.portValue, 80);
    assert.equal(a?.request?.http ?? undefined, undefined);
    answer = { status: { code: 7 } };
    assert.match(await bytes(), /AUTHORIZER_DENIED/);
    answer = { status: { code: 0 } };
    open(provider(), custom({ rules: [{ from: [{ namespaces: { any: ['other'] } }] }] }));
    asked = [];
    assert.equal(await bytes(), 'ping');
    assert.equal(asked.length, 0, 'no rule matches');
    open(provider(), custom({ afterTokens: true }));
    assert.equal(await bytes(), 'ping');
    assert.equal(asked.length, 1);
  });

  test('down, slow, lying: as configured; who speaks HTTP alone, or is not there, refuses', async () => {
    const closed = /AUTHORIZER_UNAVAILABLE/;
    const rows: readonly (readonly [Answer, Draft<wire.L7AuthProvider>])[] = [
      ['never', { timeoutMs: 100 }],
      ['garbage', {}],
      ['error', {}],
      [{}, { hostname: hostname('gone') }],
    ];
    for (const [told, more] of rows) {
      answer = told;
      const before = await failures();
      open(provider(more));
      assert.match(await bytes(), closed);
      open(provider({ ...more, failOpen: true }));
      assert.equal(await bytes(), 'ping');
      assert.deepEqual(await failures(), [before[0] + 1, before[1] + 1]);
    }
    answer = { status: { code: 0 } };
    open(provider({ http: { pathPrefix: '' }, failOpen: true }));
    assert.match(await bytes(), closed);
    open(provider({ broken: true, failOpen: true }));
    assert.match(await bytes(), closed);
  });
});

describe('HTTP', () => {
  const viaHttp = (more: Draft<wire.L7AuthProvider> = {}, h: Draft<wire.L7HttpCheck> = {}) =>
    provider({ hostname: hostname('httpauth'), http: { pathPrefix: '/check', ...h }, ...more });

  test('asked with method, prefix and path, Host, Authorization and what is listed', async () => {
    configure(
      viaHttp(
        {},
        {
          include: ['x-a*', '*'],
          additional: [{ name: 'X-Fixed', value: 'f' }],
          upstreamOnAllow: ['x-user'],
          downstreamOnAllow: ['x-down'],
        },
      ),
    );
    httpAnswer = (_q, res) =>
      void res.writeHead(200, { 'x-user': 'anna', 'x-down': 'd', 'x-not': 'n' }).end('ignored');
    const r = await ask(
      'PUT /asked?q=1\nauthorization: A\nx-able: 1\nx-user: root\nx-fixed: forged',
    );
    assert.equal(r.status, 200);
    const [q] = questions as [Seen];
    assert.equal(q.url, 'PUT /check/asked?q=1');
    assert.equal(q.headers.host, 'web');
    assert.equal(q.headers.authorization, 'A');
    assert.equal(q.headers['x-able'], '1');
    assert.equal(q.headers['x-user'], undefined);
    assert.equal(q.headers['x-fixed'], 'f');
    assert.equal(q.headers['content-length'], '0');
    assert.equal(seen[0]?.headers['x-user'], 'anna');
    assert.equal(seen[0].headers['x-not'], undefined);
    assert.match(r.text, /^x-down: d\r$/im);
  });

  test('anything but 200 refuses with all it says; 5xx says nothing', async () => {
    configure(viaHttp());
    httpAnswer = (_q, res) =>
      void res
        .writeHead(401, { 'www-authenticate': 'Basic', 'x-why': 'w', 'content-type': 'text/html' })
        .end('<b>no</b>');
    const r = await ask('GET /asked');
    assert.equal(r.status, 401);
    assert.match(r.text, /^www-authenticate: Basic\r$/im);
    assert.match(r.text, /^x-why: w\r$/im);
    assert.match(r.text, /^content-type: text\/html\r$/im);
    assert.match(r.text, /<b>no<\/b>$/);
    httpAnswer = (_q, res) => void res.writeHead(204).end();
    assert.equal((await ask('GET /asked')).status, 204);
    configure(viaHttp({}, { downstreamOnDeny: ['x-other'] }));
    httpAnswer = (_q, res) => void res.writeHead(403, { 'x-why': 'w' }).end('no');
    assert.doesNotMatch((await ask('GET /asked')).text, /x-why/i);
    httpAnswer = (_q, res) => void res.writeHead(500).end('secret');
    const error = await ask('GET /asked');
    assert.equal(error.status, 403);
    assert.doesNotMatch(error.text, /secret/);
    httpAnswer = (q) => void q.socket.destroy();
    assert.equal((await ask('GET /asked')).status, 403);
    configure(viaHttp({ failOpen: true, timeoutMs: 200 }));
    httpAnswer = () => {};
    assert.equal((await ask('GET /asked')).status, 200);
  });

  test('an answer without end: cut', async () => {
    configure(viaHttp());
    httpAnswer = (_q, res) => {
      const part = Buffer.alloc(64 << 10);
      const more = (): void => {
        while (!res.destroyed && res.write(part));
      };
      res.on('drain', more);
      more();
    };
    assert.equal((await ask('GET /asked')).status, 403);
  });
});
