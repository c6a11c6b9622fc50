// End users' tokens as raw bytes on a tunnel (waypoint-l7.md 7; rows J1–J11): what an attacker may send, what the
// caller is told, what the application sees.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
const issuer = 'https://issuer.example';
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsaPem = rsa.publicKey.export({ type: 'spki', format: 'pem' });
const jwks = JSON.stringify({
  keys: [
    { ...(await exportJWK(ec.publicKey)), kid: 'ec', alg: 'ES256' },
    { ...(await exportJWK(rsa.publicKey)), kid: 'rsa' },
  ],
});

const now = Math.floor(Date.now() / 1000);
const good = { iss: issuer, sub: 'anna', aud: 'shop', exp: now + 600, groups: ['staff'] };
const b64 = (v: unknown): string =>
  Buffer.from(typeof v === 'string' ? v : JSON.stringify(v)).toString('base64url');
const sign = (claims: object, header: object = {}, key: unknown = ec.privateKey): Promise<string> =>
  new SignJWT({ ...good, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'ec', ...header })
    .sign(key as typeof ec.privateKey);
const unsigned = (header: object, payload: unknown, signature = 'AAAA'): string =>
  `${b64(header)}.${b64(payload)}.${signature}`;

const rule: Draft<wire.L7JwtRule> = {
  policy: 'shop/ra',
  issuer,
  jwks,
  audiences: ['shop'],
  payloadHeader: 'x-payload',
  claimHeaders: [{ header: 'x-user', claim: 'sub' }],
};
const staffOnly: Draft<wire.L7AccessPolicy> = {
  key: 'shop/staff',
  action: L7PolicyAction.ALLOW,
  rules: [
    {
      from: [{ requestPrincipals: { any: [`${issuer}/*`] } }],
      when: [{ key: 'request.auth.claims[groups]', values: { any: ['staff'] } }],
    },
    { to: [{ paths: { any: ['/open'] } }] },
  ],
};

let w: TestWaypoint;
let seen: http.IncomingMessage[] = [];
const app = http.createServer((req, res) => {
  seen.push(req);
  res.end('hello');
});

const ask = async (path: string, ...lines: string[]): Promise<{ status: number; text: string }> => {
  seen = [];
  const more = lines.map((l) => `${l}\r\n`).join('');
  const text = await w.exchange(
    `${vip}:80`,
    `GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${more}\r\n`,
  );
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text };
};
const bearer = (token: string): string => `authorization: Bearer ${token}`;

before(async () => {
  w = await startTestWaypoint(at(1));
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  w.service('web', vip, 80, [`${at(10)}:${(app.address() as net.AddressInfo).port}`]);
  w.configure('web', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    jwtRules: [rule],
    policies: [staffOnly],
  });
});
after(async () => {
  await w.stop();
  app.closeAllConnections();
  app.close();
});

test('a good token: the application sees who asks, not the token; what was forged is gone', async () => {
  const token = await sign({});
  const r = await ask('/a?x=1', bearer(token), 'x-user: root', 'x-payload: forged');
  assert.equal(r.status, 200);
  const [{ headers, url }] = seen as [http.IncomingMessage];
  assert.equal(headers.authorization, undefined);
  assert.equal(headers['x-user'], 'anna');
  assert.equal(headers['x-payload'], token.split('.')[1]);
  assert.equal(url, '/a?x=1');
  const param = await ask(`/a?y=2&access_token=${token}&z`);
  assert.equal(param.status, 200);
  assert.equal(seen[0]?.url, '/a?y=2&z');
  // Nothing of a token is in the log.
  assert.ok(!w.lines.some((l) => l.includes(token.slice(-20))));
});

describe('M12 token required', () => {
  test('none: 403, exempt path: 200', async () => {
    const none = await ask('/a');
    assert.equal(none.status, 403);
    assert.match(none.text, /RBAC: access denied$/);
    assert.equal((await ask('/open')).status, 200);
    assert.equal((await ask('/open', 'x-user: root')).status, 200);
    assert.equal(seen[0]?.headers['x-user'], undefined);
  });
  test('good, but another group: 403', async () => {
    assert.equal((await ask('/a', bearer(await sign({ groups: ['guests'] })))).status, 403);
    assert.equal((await ask('/a', bearer(await sign({ sub: undefined })))).status, 403);
  });
});

describe('401 with its words, and the application hears nothing', () => {
  const rows: readonly (readonly [string, () => string | Promise<string>, string])[] = [
    ['J1 none', () => unsigned({ alg: 'none' }, good, ''), 'Jwt header [alg] is not supported'],
    ['J1 nOnE', () => unsigned({ alg: 'nOnE' }, good, ''), 'Jwt header [alg] is not supported'],
    [
      'J2 HMAC made with the public key',
      () => sign({}, { alg: 'HS256', kid: 'rsa' }, Buffer.from(rsaPem)),
      "Jwks doesn't have key to match kid or alg from Jwt",
    ],
    [
      'J2 an algorithm other than the key says',
      () => sign({}, { alg: 'RS256' }, rsa.privateKey),
      "Jwks doesn't have key to match kid or alg from Jwt",
    ],
    ['J2 another key', () => sign({}, {}, other.privateKey), 'Jwt verification fails'],
    ...['../../../dev/null', "' OR 1=1 --", 'http://127.0.0.1/k', 'k'.repeat(10_240)].map(
      (kid) =>
        [
          `J3 kid ${kid.slice(0, 20)}`,
          () => sign({}, { kid }),
          "Jwks doesn't have key to match kid or alg from Jwt",
        ] as const,
    ),
    [
      'J4 a key in the header',
      async () =>
        sign({}, { jwk: await exportJWK(other.publicKey), jku: 'http://[::1]/' }, other.privateKey),
      'Jwt verification fails',
    ],
    [
      'J4 crit',
      () => unsigned({ alg: 'ES256', crit: ['x'], x: 1 }, good),
      'Jwt verification fails',
    ],
    ['J5 expired', () => sign({ exp: now - 61 }), 'Jwt is expired'],
    ['J5 not yet', () => sign({ nbf: now + 600 }), 'Jwt not yet valid'],
    [
      'J5 a time as text',
      () => unsigned({ alg: 'ES256' }, { ...good, exp: '99999999999' }),
      'Jwt payload [exp] field is not an integer',
    ],
    [
      'J5 1e308',
      () => unsigned({ alg: 'ES256' }, `{"iss":"${issuer}","exp":1e308}`),
      'Jwt payload [exp] field is not a positive 64 bit integer',
    ],
    ['J6 wrong issuer', () => sign({ iss: 'https://evil' }), 'Jwt issuer is not configured'],
    ['J6 no issuer', () => sign({ iss: undefined }), 'Jwt issuer is not configured'],
    [
      'J7 a claim twice',
      () => unsigned({ alg: 'ES256' }, `{"iss":"${issuer}","sub":"a","sub":"b"}`),
      'Jwt payload is an invalid JSON',
    ],
    [
      'J7 deep',
      () => unsigned({ alg: 'ES256' }, `${'['.repeat(20_000)}${']'.repeat(20_000)}`),
      'Jwt payload is an invalid JSON',
    ],
    ['J7 coding', () => 'e30.e30.+', 'Jwt header [alg] field is required and must be a string'],
    [
      'J7 dots',
      () => 'a.b.c.d',
      'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
    ],
    [
      'J7 encrypted',
      () => 'a.b.c.d.e',
      'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
    ],
    [
      'J10 zeros',
      () => unsigned({ alg: 'ES256', kid: 'ec' }, good, 'A'.repeat(86)),
      'Jwt verification fails',
    ],
    [
      'J10 DER',
      () => unsigned({ alg: 'ES256', kid: 'ec' }, good, 'MAYCAQECAQE'),
      'Jwt verification fails',
    ],
  ];
  for (const [name, token, text] of rows) {
    test(name, async () => {
      const r = await ask('/open', bearer(await token()));
      assert.equal(r.status, 401);
      assert.equal(r.text.split('\r\n\r\n')[1], text);
      assert.match(
        r.text,
        /^www-authenticate: Bearer realm="http:\/\/web\/open", error="invalid_token"\r$/im,
      );
      assert.match(r.text, /^content-type: text\/plain\r$/im);
      assert.equal(seen.length, 0);
    });
  }

  test('J6 another audience: 403, as the reference proxy has it', async () => {
    const r = await ask('/open', bearer(await sign({ aud: ['x', 'y'] })));
    assert.equal(r.status, 403);
    assert.match(r.text, /Audiences in Jwt are not allowed$/);
    assert.equal((await ask('/a', bearer(await sign({ aud: ['x', 'shop'] })))).status, 200);
  });

  test('J7 a megabyte: cut at the limit of headers', async () => {
    const r = await ask('/open', bearer('a'.repeat(1 << 20)));
    assert.equal(r.status, 431);
    assert.equal(seen.length, 0);
  });

  test('J8 two tokens in different places: both must hold', async () => {
    const token = await sign({});
    assert.equal((await ask('/a?access_token=x', bearer(token))).status, 401);
    assert.equal((await ask('/a', bearer(token), bearer('x'))).status, 401);
    assert.equal((await ask(`/a?access_token=${token}`, bearer(token))).status, 200);
  });

  test('a realm cannot be broken out of', async () => {
    const r = await ask('/open%22,x=%22"y', bearer('x'));
    assert.match(r.text, /realm="http:\/\/web\/open%22,x=%22%22y", error/i);
  });

  test('gRPC is told in its trailers: 16, and 7 for the audience', async () => {
    const grpc = 'content-type: application/grpc';
    const expired = await ask('/open', grpc, bearer(await sign({ exp: 1 })));
    assert.equal(expired.status, 200);
    assert.match(expired.text, /^grpc-status: 16\r\ngrpc-message: Jwt is expired\r$/im);
    const audience = await ask('/open', grpc, bearer(await sign({ aud: 'x' })));
    assert.match(audience.text, /^grpc-status: 7\r$/im);
  });
});

test('J9 keys that could not be had: refused, whatever the token', async () => {
  w.service('dark', at(101), 80, [`${at(10)}:1`]);
  w.configure('dark', {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    jwtRules: [{ issuer, jwks: '' }],
  });
  const request = `GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${bearer(await sign({}))}\r\n\r\n`;
  assert.match(await w.exchange(`${at(101)}:80`, request), /Jwks remote fetch is failed$/);
});

test('a route by claim', async () => {
  w.configure('web', {
    ports: [
      {
        port: 80,
        protocol: L7PortProtocol.HTTP,
        routes: {
          rules: [{ name: 'staff', direct: { status: 299, body: Buffer.from('staff') } }],
          entries: [
            {
              match: { headers: [{ name: '@request.auth.claims.groups', value: 'staff' }] },
              rule: 0,
            },
          ],
        },
      },
    ],
    jwtRules: [rule],
  });
  assert.equal((await ask('/a', bearer(await sign({})))).status, 299);
  assert.equal((await ask('/a', bearer(await sign({ groups: ['x'] })))).status, 404);
  assert.equal((await ask('/a')).status, 404);
  // The name of a claim is no header anybody can send.
  assert.equal((await ask('/a', '@request.auth.claims.groups: staff')).status, 400);
});
