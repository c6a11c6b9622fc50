// K14: who may ask an admin port, and what a broken or greedy client gets.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../base/index.ts';
import { isLocalRequest, type OpsHandler, type OpsServer, serveOps } from './ops-server.ts';

describe('K14 local requests', () => {
  type Headers = Record<string, string>;
  const rows: readonly [string, string | undefined, Headers, boolean][] = [
    ['loopback by address', '127.0.0.1', { host: '127.0.0.1:15000' }, true],
    ['loopback by name', '127.0.0.1', { host: 'localhost:15000' }, true],
    ['without a port in Host', '127.0.0.1', { host: 'localhost' }, true],
    ['IPv6', '::1', { host: '[::1]:15000' }, true],
    ['a mapped peer address', '::ffff:127.0.0.1', { host: 'localhost:1' }, true],
    [
      'the same origin',
      '127.0.0.1',
      { host: 'localhost:1', origin: 'http://localhost:1', 'sec-fetch-site': 'same-origin' },
      true,
    ],
    ['typed into a browser', '127.0.0.1', { host: 'localhost:1', 'sec-fetch-site': 'none' }, true],
    ['a peer from elsewhere', '10.0.0.1', { host: 'localhost:1' }, false],
    ['a peer without an address', undefined, { host: 'localhost:1' }, false],
    ['DNS rebinding: a foreign name', '127.0.0.1', { host: 'evil.example:15000' }, false],
    [
      'DNS rebinding: a name that begins like ours',
      '127.0.0.1',
      { host: 'localhost.evil.example:1' },
      false,
    ],
    ['no Host', '127.0.0.1', {}, false],
    ['a Host that is none', '127.0.0.1', { host: 'localhost:x' }, false],
    [
      'cross-site by Sec-Fetch-Site',
      '127.0.0.1',
      { host: 'localhost:1', 'sec-fetch-site': 'cross-site' },
      false,
    ],
    [
      'same-site is not same-origin',
      '127.0.0.1',
      { host: 'localhost:1', 'sec-fetch-site': 'same-site' },
      false,
    ],
    [
      'cross-site by Origin',
      '127.0.0.1',
      { host: 'localhost:1', origin: 'http://evil.example' },
      false,
    ],
    [
      'another port is another origin',
      '127.0.0.1',
      { host: 'localhost:1', origin: 'http://localhost:2' },
      false,
    ],
    ['the opaque origin', '127.0.0.1', { host: 'localhost:1', origin: 'null' }, false],
  ];
  for (const [what, peer, headers, want] of rows) {
    test(`${what}: ${want ? 'served' : 'refused'}`, () => {
      assert.equal(isLocalRequest(peer, headers), want);
    });
  }
});

describe('ops server', () => {
  let server: OpsServer;
  const routes = new Map<string, OpsHandler>([
    ['GET /x', ({ query }) => ({ status: 200, body: `x ${query.get('q') ?? ''}` })],
    ['POST /quit', ({ body }) => ({ status: 200, body })],
    ['* /any', ({ method }) => ({ status: 200, body: method })],
    [
      'GET /broken',
      () => {
        throw new Error('secret detail');
      },
    ],
  ]);
  before(async () => {
    server = await serveOps({ host: '127.0.0.1', port: 0, routes, local: true, log: silentLog });
  });
  after(() => server.stop());

  function ask(
    method: string,
    path: string,
    body = '',
    headers: Record<string, string> = {},
  ): Promise<string> {
    return new Promise((resolve, reject) => {
      const r = request(
        { host: '127.0.0.1', port: server.port, method, path, headers, agent: false },
        (response) => {
          let text = '';
          response.on('data', (c: Buffer) => (text += c.toString()));
          response.on('end', () => resolve(`${response.statusCode} ${text.trim()}`));
          response.on('error', reject);
        },
      );
      r.on('error', reject);
      r.end(body);
    });
  }

  const rows: readonly [string, string, string, string, Record<string, string>, string][] = [
    ['a route with its query', 'GET', '/x?q=1', '', {}, '200 x 1'],
    ['no such route', 'GET', '/y', '', {}, '404 not found'],
    ['K14 a state-changing path needs POST', 'GET', '/quit', '', {}, '405 method not allowed'],
    ['a body', 'POST', '/quit', 'now', {}, '200 now'],
    ['any method', 'DELETE', '/any', '', {}, '200 DELETE'],
    ['a handler that throws tells nothing of why', 'GET', '/broken', '', {}, '500 internal error'],
    [
      'K14 a foreign Host',
      'GET',
      '/x',
      '',
      { host: 'evil.example' },
      '403 only served to local peers',
    ],
    [
      'K14 a cross-site POST',
      'POST',
      '/quit',
      '',
      { origin: 'http://evil.example' },
      '403 only served to local peers',
    ],
    ['K5 a body over the limit', 'POST', '/quit', 'x'.repeat(70_000), {}, '413 body too large'],
    ['L21 a path called like a property', 'GET', '/__proto__', '', {}, '404 not found'],
  ];
  for (const [what, method, path, body, headers, want] of rows) {
    test(`${what}: ${want}`, async () =>
      assert.equal(await ask(method, path, body, headers), want));
  }

  test('nonsense on the port is cut, and the server lives', async () => {
    const s = connect(server.port, '127.0.0.1');
    s.on('error', () => {});
    s.write('\x16\x03\x01 this is no HTTP\r\n\r\n');
    await new Promise((resolve) => s.on('close', resolve));
    assert.equal(await ask('GET', '/x'), '200 x');
  });

  test('Z13 a taken port is told with its address', async () => {
    await assert.rejects(
      serveOps({ host: '127.0.0.1', port: server.port, routes, log: silentLog }),
      new RegExp(`127\\.0\\.0\\.1:${server.port}: EADDRINUSE`),
    );
  });
});
