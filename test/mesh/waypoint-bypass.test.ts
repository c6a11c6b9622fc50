// Ways around a policy, as raw bytes on a tunnel (reliability checklist L1–L3, L5, L9–L14): what is judged, what is
// routed and what the application sees are one and the same.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { L7Normalization, L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
let w: TestWaypoint;
let seen: { url: string; method: string; headers: http.IncomingHttpHeaders }[] = [];
const app = http.createServer((req, res) => {
  seen.push({ url: req.url ?? '', method: req.method ?? '', headers: req.headers });
  res.end('hello');
});

const policy = (action: number, rule: Draft<wire.L7AccessRule>): Draft<wire.L7AccessPolicy> => ({
  key: 'shop/p',
  action,
  rules: [rule],
});
const { ALLOW, DENY } = L7PolicyAction;
const noAdmin = policy(DENY, { to: [{ paths: { any: ['/admin', '/admin/*', '/admin;*'] } }] });
function configure(p: Draft<wire.L7AccessPolicy>, more: Draft<wire.L7ServiceConfig> = {}): void {
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    policies: [p],
    ...more,
  });
}
async function send(bytes: string): Promise<number> {
  seen = [];
  const text = await w.exchange(`${vip}:80`, bytes);
  return Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
}
const get = (target: string, ...lines: string[]): Promise<number> =>
  send([`GET ${target} HTTP/1.1`, 'host: web', 'connection: close', ...lines, '', ''].join('\r\n'));

before(async () => {
  w = await startTestWaypoint(at(1));
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  w.service('web', vip, 80, [`${at(10)}:${(app.address() as net.AddressInfo).port}`]);
});
after(async () => {
  await w.stop();
  app.closeAllConnections();
  app.close();
});

describe('L9 paths: refused, or the application sees another path than the one that is denied', () => {
  const targets = [
    '/admin',
    '/./admin',
    '/x/../admin',
    '/x/%2e%2e/admin',
    '/x/.%2E/admin',
    '/%61dmin',
    '/%2e/admin',
    '/%41/../admin',
    String.raw`\admin`,
    String.raw`/x\..\admin`,
    '/admin#f',
    '/admin?x=/public',
    '/admin;v=1',
    '/admin/',
    '/admin/../admin',
    'http://web/admin',
    'http://web/x/../admin',
  ];
  for (const target of targets) {
    test(`BASE ${target}`, async () => {
      configure(noAdmin);
      const status = await get(target);
      assert.ok([400, 403, 404].includes(status), String(status));
      assert.equal(seen.length, 0);
    });
  }
  const slashes = [
    '//admin',
    '/x//../admin',
    '/x%2f..%2fadmin',
    '/x/..%5cadmin',
    '/%2fadmin',
    '/%5Cadmin',
  ];
  for (const target of slashes) {
    test(`DECODE_AND_MERGE_SLASHES ${target}`, async () => {
      configure(noAdmin, { pathNormalization: L7Normalization.DECODE_AND_MERGE_SLASHES });
      // One step up from `/x/` is `/`: what is left is the path that is denied, or one below another.
      const status = await get(target);
      if (status === 200) assert.doesNotMatch(seen[0]?.url ?? '', /^\/+admin/i);
      else assert.equal(status, 403);
    });
    test(`BASE ${target}: passed on as it was judged`, async () => {
      configure(noAdmin);
      const status = await get(target);
      if (status === 200) assert.doesNotMatch(seen[0]?.url ?? '', /^\/admin/);
      else assert.equal(status, 403);
    });
  }
  test('double and over-long encodings are never opened, NUL and bytes that are no text are refused', async () => {
    configure(noAdmin);
    assert.equal(await get('/%2561dmin'), 200);
    assert.equal(seen[0]?.url, '/%2561dmin');
    assert.equal(await get('/%c1%a1dmin'), 200);
    assert.equal(seen[0]?.url, '/%c1%a1dmin');
    assert.equal(await get('/%00/../admin'), 400);
    assert.equal(await get('/\xffadmin'), 400);
    assert.equal(await get('/Admin'), 200);
  });
});

describe('L10 hosts', () => {
  const ask = (host: string): Promise<number> =>
    send(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
  const names = [
    'secret.example',
    'SECRET.example',
    'secret.example.',
    'secret.example:80',
    'secret.example:',
    'secret.example.:443',
  ];
  const to = { to: [{ hosts: { any: ['secret.example'] } }] };
  const others = { to: [{ hosts: { none: ['secret.example'] } }] };
  for (const name of names) {
    test(`DENY, and ALLOW of all others: ${name} is refused`, async () => {
      configure(policy(DENY, to));
      assert.equal(await ask(name), 403);
      configure(policy(ALLOW, others));
      assert.equal(await ask(name), 403);
    });
  }
  test('ALLOW: another spelling is another host; user info is none', async () => {
    configure(policy(ALLOW, to));
    assert.deepEqual(
      [await ask('secret.example'), await ask('Secret.Example'), await ask('secret.example.')],
      [200, 200, 403],
    );
    assert.ok((await ask('x@secret.example')) >= 400);
    assert.equal(await ask('secret.example.evil'), 403);
  });
  test('L5 an absolute target wins over Host, for the policy and for the application', async () => {
    configure(policy(DENY, to));
    assert.equal(
      await send('GET http://secret.example/ HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n'),
      403,
    );
    assert.equal(
      await send('GET http://web/ HTTP/1.1\r\nhost: secret.example\r\nconnection: close\r\n\r\n'),
      200,
    );
    assert.equal(seen[0]?.headers.host, 'web');
    assert.equal(await send('GET / HTTP/1.1\r\nhost: web\r\nhost: secret.example\r\n\r\n'), 400);
  });
});

test('L11 methods are compared as they are written', async () => {
  configure(policy(DENY, { to: [{ methods: { any: ['DELETE'] } }] }));
  const ask = (method: string): Promise<number> =>
    send(`${method} / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`);
  assert.equal(await ask('DELETE'), 403);
  for (const odd of ['delete', 'DELETE\t', 'Delete', 'XDELETE']) {
    assert.equal(await ask(odd), 400, odd);
    assert.equal(seen.length, 0);
  }
  // No header makes one method of another.
  assert.equal(await get('/', 'x-http-method-override: DELETE'), 200);
  assert.equal(seen[0]?.method, 'GET');
});

describe('L12 a header on several lines', () => {
  const key = 'request.headers[x-role]';
  const rows: readonly (readonly [string, number, Draft<wire.L7Texts>, string[], number])[] = [
    ['deny: one of two', DENY, { any: ['bad'] }, ['x-role: good', 'x-role: bad'], 403],
    ['deny: in a list', DENY, { any: ['bad'] }, ['x-role: good, bad'], 403],
    ['deny: another case of the name', DENY, { any: ['bad'] }, ['X-ROLE: bad'], 403],
    ['deny others: one is another', DENY, { none: ['good'] }, ['x-role: good', 'x-role: bad'], 403],
    ['deny others: none at all', DENY, { none: ['good'] }, [], 403],
    ['deny others: good', DENY, { none: ['good'] }, ['x-role: good'], 200],
    ['allow: one is another', ALLOW, { any: ['good'] }, ['x-role: good', 'x-role: bad'], 403],
    ['allow: in a list', ALLOW, { any: ['good'] }, ['x-role: bad, good'], 403],
    ['allow: twice the same', ALLOW, { any: ['good'] }, ['x-role: good', 'x-role: good'], 200],
    ['allow all but: one of two', ALLOW, { none: ['bad'] }, ['x-role: good', 'x-role: bad'], 403],
  ];
  for (const [name, action, values, lines, status] of rows) {
    test(name, async () => {
      configure(policy(action, { when: [{ key, values }] }));
      assert.equal(await get('/', ...lines), status);
    });
  }
});

test('L13 L14 what callers may not say is not judged, not passed on', async () => {
  const key = 'request.headers[x-role]';
  configure(policy(DENY, { when: [{ key, values: { any: ['bad'] } }] }));
  // Nominated by Connection: gone for the policy and for the application alike.
  const bytes = 'GET / HTTP/1.1\r\nhost: web\r\nconnection: close, x-role\r\nx-role: bad\r\n\r\n';
  assert.equal(await send(bytes), 200);
  assert.equal(seen[0]?.headers['x-role'], undefined);
  const forged = [
    'x-envoy-original-path: /admin',
    'x-forwarded-client-cert: URI=spiffe://x',
    'x-envoy-internal: true',
  ];
  assert.equal(await get('/', ...forged), 200);
  for (const name of ['x-envoy-original-path', 'x-forwarded-client-cert', 'x-envoy-internal'])
    assert.equal(seen[0]?.headers[name], undefined, name);
  // An end-to-end header cannot be taken away by naming it.
  assert.equal(await get('/', 'connection: host'), 200);
  assert.equal(seen[0]?.headers.host, 'web');
  assert.equal(await get('/', 'connection: x-forwarded-for'), 400);
});

test('L21 names of Object’s own members are ordinary headers and claims', async () => {
  for (const name of ['__proto__', 'constructor', 'tostring']) {
    const key = `request.headers[${name}]`;
    configure(policy(DENY, { when: [{ key, values: { any: ['*'] } }] }));
    assert.equal(await get('/'), 200, name);
    assert.equal(await get('/', `${name}: x`), 403, name);
    configure(
      policy(ALLOW, { when: [{ key: `request.auth.claims[${name}]`, values: { any: ['*'] } }] }),
    );
    assert.equal(await get('/'), 403, name);
  }
});

describe('L1 L2 L3 a request inside another never comes out of it', () => {
  const hidden = 'GET /admin HTTP/1.1\r\nhost: web\r\n\r\n';
  const post = (...lines: string[]): string =>
    ['POST /x HTTP/1.1', 'host: web', ...lines, '', ''].join('\r\n');
  const rows: readonly (readonly [string, string])[] = [
    ['L1 length and coding', `${post('content-length: 4', 'transfer-encoding: chunked')}0\r\n\r\n`],
    ['L1 two lengths', `${post('content-length: 0', 'content-length: 41')}`],
    ['L1 a list of lengths', post('content-length: 0, 0')],
    ['L1 signed', post('content-length: +0')],
    ['L1 hex', post('content-length: 0x0')],
    ['L1 negative', post('content-length: -1')],
    ['L1 over all numbers', post('content-length: 99999999999999999999')],
    ['L2 xchunked', `${post('transfer-encoding: xchunked')}0\r\n\r\n`],
    ['L2 a tab', `${post('transfer-encoding: \tchunked\x0b')}0\r\n\r\n`],
    ['L2 twice', `${post('transfer-encoding: chunked', 'transfer-encoding: identity')}0\r\n\r\n`],
    ['L2 not last', `${post('transfer-encoding: chunked, gzip')}0\r\n\r\n`],
    ['L2 space before the colon', `${post('transfer-encoding : chunked')}0\r\n\r\n`],
    ['L2 HTTP/1.0', `POST /x HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['L3 junk in the size', `${post('transfer-encoding: chunked')}0x0\r\n\r\n`],
    ['L3 bare line feed', `${post('transfer-encoding: chunked')}0\n\n`],
    ['L3 no end of a chunk', `${post('transfer-encoding: chunked')}1\r\naXX0\r\n\r\n`],
    ['L3 over all numbers', `${post('transfer-encoding: chunked')}fffffffffffffffff\r\n`],
    ['L4 a folded line', `POST /x HTTP/1.1\r\nhost: web\r\nx: a\r\n content-length: 41\r\n\r\n`],
    ['L4 NUL', post('x: a\0b')],
    ['L4 no name', post(': x')],
  ];
  for (const [name, bytes] of rows) {
    test(name, async () => {
      configure(policy(DENY, { to: [{ paths: { any: ['/none'] } }] }));
      const status = await send(bytes + hidden);
      assert.ok([0, 400, 426, 501].includes(status), String(status));
      assert.ok(!seen.some((s) => s.url === '/admin'), 'the hidden request came out');
    });
  }
});

test('AUDIT and dry run: told in the log and counted, decide nothing', async () => {
  const rule = { to: [{ paths: { any: ['/watched'] } }] };
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    policies: [
      { key: 'shop/watch', action: L7PolicyAction.AUDIT, rules: [rule] },
      { key: 'shop/later', action: DENY, dryRun: true, rules: [rule] },
    ],
  });
  assert.equal(await get('/watched'), 200);
  assert.equal(await get('/other'), 200);
  const line = (path: string): string => w.lines.findLast((l) => l.includes(path)) ?? '';
  assert.match(line('/watched'), /audit="?shop\/watch/);
  assert.match(line('/watched'), /dry_run_deny="?shop\/later/);
  assert.doesNotMatch(line('/other'), /audit|dry_run/);
  const { body } = await w.metrics.render(undefined);
  for (const labels of ['policy="shop/watch",as="audit"', 'policy="shop/later",as="dry-run-deny"'])
    assert.ok(body.includes(`ambient_waypoint_policy_marks_total{${labels}} 1`), labels);
});
