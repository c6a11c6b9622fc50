// Authorization at the waypoint through the whole path: what a rule may look at, in both directions, and that a policy
// of one service says nothing about the others behind the same waypoint (waypoint-l7.md 6; rows M8, M10).
import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const guarded = at(100);
const beside = at(101);
let w: TestWaypoint;
let served = 0;
const app = http.createServer((_, res) => {
  served++;
  res.end('hello');
});

before(async () => {
  w = await startTestWaypoint(at(1));
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  const endpoint = `${at(10)}:${(app.address() as net.AddressInfo).port}`;
  w.service('web', guarded, 80, [endpoint]);
  w.service('other', beside, 80, [endpoint]);
  w.configure('other', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
});
after(async () => {
  await w.stop();
  app.closeAllConnections();
  app.close();
});

type Rule = Draft<wire.L7AccessRule>;
const apply = (action: number, ...rules: Rule[]): void =>
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    policies: [{ key: 'shop/p', action, rules }],
  });

/** The status, and for 403 that it is ours and the application heard nothing. */
async function ask(vip: string, line: string, header = 'x-none: 1'): Promise<number> {
  const before = served;
  const head = `${line} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${header}\r\n`;
  const text = await w.exchange(`${vip}:80`, `${head}content-length: 0\r\n\r\n`);
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
  if (status === 403) assert.match(text, /\r\n\r\nRBAC: access denied$/);
  assert.equal(served, before + (status === 200 ? 1 : 0));
  return status;
}

const op = (o: Draft<wire.L7AccessOperation>): Rule => ({ to: [o] });
const from = (s: Draft<wire.L7AccessSource>): Rule => ({ from: [s] });
const client = 'cluster.local/ns/shop/sa/client';
const header = (any: string[], none: string[] = []): Rule => ({
  when: [{ key: 'request.headers[x-team]', values: { any, none } }],
});

describe('M10 a rule matches, as ALLOW and as DENY', () => {
  const rows: readonly (readonly [string, Rule, boolean, string, string?])[] = [
    ['path', op({ paths: { any: ['/a'] } }), true, 'GET /a'],
    ['another path', op({ paths: { any: ['/a'] } }), false, 'GET /ab'],
    ['path by prefix', op({ paths: { any: ['/a/*'] } }), true, 'GET /a/b/c'],
    ['path by suffix', op({ paths: { any: ['*.html'] } }), true, 'GET /x/y.html?z=1'],
    ['path by template', op({ paths: { any: ['/v1/{*}/end'] } }), true, 'GET /v1/x/end'],
    ['path that is excluded', op({ paths: { any: ['/*'], none: ['/x*'] } }), false, 'GET /xy'],
    ['method', op({ methods: { any: ['GET', 'HEAD'] } }), true, 'GET /'],
    ['another method', op({ methods: { any: ['GET', 'HEAD'] } }), false, 'POST /'],
    ['method that is excluded', op({ methods: { none: ['DELETE'] } }), false, 'DELETE /'],
    ['method and path', op({ methods: { any: ['PUT'] }, paths: { any: ['/a'] } }), false, 'PUT /b'],
    ['header', header(['red']), true, 'GET /', 'x-team: red'],
    ['another value', header(['red']), false, 'GET /', 'x-team: blue'],
    ['no such header', header(['red']), false, 'GET /'],
    ['header by prefix', header(['re*']), true, 'GET /', 'x-team: red'],
    ['header that is there at all', header(['*']), true, 'GET /', 'x-team: any'],
    ['header that is excluded', header([], ['red']), false, 'GET /', 'x-team: red'],
    ['identity', from({ principals: { any: [client] } }), true, 'GET /'],
    ['another identity', from({ principals: { any: [`${client}2`] } }), false, 'GET /'],
    ['identity by suffix', from({ principals: { any: ['*/sa/client'] } }), true, 'GET /'],
    ['any identity', from({ principals: { any: ['*'] } }), true, 'GET /'],
    ['identity that is excluded', from({ principals: { none: [client] } }), false, 'GET /'],
    ['namespace', from({ namespaces: { any: ['shop'] } }), true, 'GET /'],
    ['everything', {}, true, 'GET /'],
  ];
  for (const [what, rule, matches, line, more] of rows) {
    test(`${what}: ${matches ? 'yes' : 'no'}`, async () => {
      apply(L7PolicyAction.ALLOW, rule);
      assert.equal(await ask(guarded, line, more), matches ? 200 : 403);
      apply(L7PolicyAction.DENY, rule);
      assert.equal(await ask(guarded, line, more), matches ? 403 : 200);
    });
  }

  test('an explicit DENY holds against an ALLOW that matches too', async () => {
    w.configure('web', {
      ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
      policies: [
        { key: 'shop/a', action: L7PolicyAction.ALLOW, rules: [{}] },
        { key: 'shop/d', action: L7PolicyAction.DENY, rules: [op({ paths: { any: ['/no'] } })] },
      ],
    });
    assert.equal(await ask(guarded, 'GET /no'), 403);
    assert.equal(await ask(guarded, 'GET /yes'), 200);
  });
});

test('M8 a policy of one service of a shared waypoint leaves the others alone', async () => {
  apply(L7PolicyAction.ALLOW);
  assert.equal(await ask(guarded, 'GET /'), 403);
  assert.equal(await ask(beside, 'GET /'), 200);
});

describe('connection.sni of TLS that passes through a waypoint', () => {
  const vip = at(102);
  let connections = 0;
  let echo: net.Server;
  const sni = (action: number, any: string[]): void =>
    w.configure('secure', {
      ports: [{ port: 80, protocol: L7PortProtocol.TCP }],
      policies: [
        { key: 'shop/p', action, rules: [{ when: [{ key: 'connection.sni', values: { any } }] }] },
      ],
    });
  before(async () => {
    const pair = await w.ca.signServer({ dns: ['a.example.com'], ips: [], ttlSeconds: 3600 });
    const server = tls.createServer({ cert: pair.chainPem, key: pair.keyPem });
    server.on('secureConnection', (s) => s.on('error', () => {}).end('hello'));
    server.on('tlsClientError', () => {});
    server.on('connection', () => connections++);
    echo = server;
    await new Promise<void>((resolve) => echo.listen(0, at(11), resolve));
    w.service('secure', vip, 80, [`${at(11)}:${(echo.address() as net.AddressInfo).port}`]);
  });
  after(() => void echo.close());

  async function shake(servername?: string): Promise<string> {
    connections = 0;
    const stream = await w.connect(`${vip}:80`);
    const name = servername === undefined ? {} : { servername };
    const s = tls.connect({ socket: stream, rejectUnauthorized: false, ...name });
    s.on('error', () => {});
    let text = '';
    s.on('data', (b: Buffer) => (text += b.toString()));
    await new Promise((resolve) => {
      for (const one of [s, stream])
        for (const end of ['end', 'close', 'error']) one.once(end, resolve);
    });
    s.destroy();
    stream.destroy();
    return text;
  }
  const rows: readonly (readonly [string | undefined, boolean])[] = [
    ['a.example.com', true],
    ['A.Example.com', true],
    ['b.example.org', false],
    [undefined, false],
  ];
  for (const [name, matches] of rows) {
    test(`M10 ${name ?? 'no name'}: ${matches ? 'yes' : 'no'}`, async () => {
      sni(L7PolicyAction.ALLOW, ['*.example.com']);
      assert.equal(await shake(name), matches ? 'hello' : '');
      assert.equal(connections, matches ? 1 : 0);
      sni(L7PolicyAction.DENY, ['*.example.com']);
      assert.equal(await shake(name), matches ? '' : 'hello');
      assert.equal(connections, matches ? 0 : 1);
    });
  }

  test('a hello that cannot be read is no way around a DENY; what is no TLS has no name', async () => {
    sni(L7PolicyAction.DENY, ['*.example.com']);
    connections = 0;
    const long = Buffer.from([22, 3, 1, 0, 4, 1, 0, 0x50, 0]).toString('latin1');
    assert.equal(await w.exchange(`${vip}:80`, `${long}${'x'.repeat(40)}`), '');
    assert.equal(connections, 0);
    const stream = await w.connect(`${vip}:80`);
    stream.write('plain');
    await eventually(() => connections === 1, 'it goes through');
    stream.destroy();
  });
});
