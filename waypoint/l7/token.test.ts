// Form and claims of tokens, word by word (waypoint-l7.md 7.2; rows J1–J10), and which tokens of a request count.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import type { HeaderList } from '../http/exchange.ts';
import { claimsRefusal, parseToken, refusals, type Token } from './token.ts';
import { authenticate, compileTokenRules } from './token-rules.ts';

const b64 = (v: unknown): string =>
  Buffer.from(typeof v === 'string' ? v : JSON.stringify(v)).toString('base64url');
const make = (header: unknown, payload: unknown, signature = 'AAAA'): string =>
  `${b64(header)}.${b64(payload)}.${signature}`;
const rs = { alg: 'RS256' };
const deep = `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`;

describe('form of a token', () => {
  const rows: readonly (readonly [string, string, string | undefined])[] = [
    ['a good one', make(rs, { iss: 'a', sub: 'b', exp: 5 }), undefined],
    ['J1 alg none', make({ alg: 'none' }, {}, ''), refusals.algUnknown],
    ['J1 alg NoNe', make({ alg: 'NoNe' }, {}), refusals.algUnknown],
    ['J1 no alg', make({}, {}), refusals.algMissing],
    ['J1 alg of the wrong type', make({ alg: 1 }, {}), refusals.algMissing],
    ['J1 alg in lower case', make({ alg: 'rs256' }, {}), refusals.algUnknown],
    ['J1 alg by a name of Object', make({ alg: 'constructor' }, {}), refusals.algUnknown],
    ['J3 kid is no text', make({ ...rs, kid: 7 }, {}), refusals.kid],
    ['J4 unknown crit', make({ ...rs, crit: ['exp'] }, {}), refusals.verification],
    [
      'J4 jku and x5u are not read',
      make({ ...rs, jku: 'http://x', x5u: 'http://x' }, {}),
      undefined,
    ],
    ['J5 exp as a text', make(rs, { exp: '1' }), 'Jwt payload [exp] field is not an integer'],
    ['J5 exp as a fraction', make(rs, { exp: 1.5 }), 'Jwt payload [exp] field is not an integer'],
    [
      'J5 exp below zero',
      make(rs, { exp: -1 }),
      'Jwt payload [exp] field is not a positive 64 bit integer',
    ],
    [
      'J5 nbf 1e308',
      make(rs, '{"nbf":1e308}'),
      'Jwt payload [nbf] field is not a positive 64 bit integer',
    ],
    ['J5 iat null', make(rs, { iat: null }), 'Jwt payload [iat] field is not an integer'],
    ['J6 iss is no text', make(rs, { iss: ['a'] }), 'Jwt payload [iss] field is not a string'],
    ['sub is no text', make(rs, { sub: 1 }), 'Jwt payload [sub] field is not a string'],
    ['jti is no text', make(rs, { jti: 1 }), 'Jwt payload [jti] field is not a string'],
    ['J6 aud of numbers', make(rs, { aud: [1] }), refusals.audience],
    ['J7 a claim twice', make(rs, '{"iss":"a","iss":"b"}'), refusals.payloadJson],
    [
      'J7 a claim twice, escaped',
      make(rs, String.raw`{"iss":"a","\u0069ss":"b"}`),
      refusals.payloadJson,
    ],
    ['J7 equal names in other objects', make(rs, '{"a":{"b":1},"c":{"b":[{"b":1}]}}'), undefined],
    ['J7 deep nesting', make(rs, deep), refusals.payloadJson],
    ['J7 a list', make(rs, '[]'), refusals.payloadJson],
    ['J7 no JSON', make(rs, '{'), refusals.payloadJson],
    ['J7 header is no JSON', make('x', {}), refusals.headerJson],
    [
      'J7 not UTF-8',
      `${b64(rs)}.${Buffer.from([0x22, 0xff, 0x22]).toString('base64url')}.AA`,
      refusals.payloadJson,
    ],
    ['J7 padding', `${b64(rs)}=.${b64({})}.AA`, refusals.headerCoding],
    ['J7 base64, not base64url', `${b64(rs)}.${b64({})}.a+/a`, refusals.signatureCoding],
    ['J7 loose bits at the end', `${b64(rs)}.${b64({})}.AB`, refusals.signatureCoding],
    ['J7 payload coding', `${b64(rs)}.!!.AA`, refusals.payloadCoding],
    ['J7 two parts', 'a.b', refusals.form],
    ['J7 four parts', 'a.b.c.d', refusals.form],
    ['J7 encrypted', 'a.b.c.d.e', refusals.form],
    ['J7 nothing', '', refusals.form],
    ['J7 dots alone', '..', refusals.form],
  ];
  for (const [name, text, refused] of rows) {
    test(name, () => {
      const t = parseToken(text);
      assert.equal('refused' in t ? t.refused : undefined, refused);
    });
  }
});

test('J5 J6 issuer, times with a skew of 60 s, audiences', () => {
  const now = 1_000_000;
  const judge = (payload: object, audiences: readonly string[] = []): string | undefined => {
    const t = parseToken(make(rs, { iss: 'i', ...payload })) as Token;
    return claimsRefusal(t, { issuer: 'i', audiences: new Set(audiences) }, now * 1000);
  };
  assert.equal(judge({}), undefined);
  assert.equal(judge({ iss: 'j' }), refusals.issuer);
  assert.equal(judge({ iss: '' }), refusals.issuer);
  assert.equal(judge({ nbf: now + 60 }), undefined);
  assert.equal(judge({ nbf: now + 61 }), refusals.early);
  assert.equal(judge({ exp: now - 60 }), undefined);
  assert.equal(judge({ exp: now - 61 }), refusals.expired);
  assert.equal(judge({ aud: 'x' }, ['a']), refusals.audienceNotAllowed);
  assert.equal(judge({}, ['a']), refusals.audienceNotAllowed);
  assert.equal(judge({ aud: ['x', 'https://a/'] }, ['a']), undefined);
});

// --- whole requests

const key = (kid: string) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, privateKey, jwk: async () => ({ ...(await exportJWK(publicKey)), kid }) };
};
const [one, two] = [key('one'), key('two')];
const sign = (k: typeof one, claims: Record<string, unknown>, alg = 'ES256'): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg, kid: k.kid }).sign(k.privateKey);
const keys = async (...all: (typeof one)[]): Promise<string> =>
  JSON.stringify({ keys: await Promise.all(all.map((k) => k.jwk())) });

async function ask(
  rules: readonly Draft<wire.L7JwtRule>[],
  headers: HeaderList,
  query = '',
): Promise<unknown> {
  const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', { jwtRules: rules });
  const compiled = compileTokenRules(
    decode('ambientlite.waypoint.v1.ServiceConfig', bytes).jwtRules,
  );
  assert.ok(compiled);
  const r = await authenticate(compiled, { method: 'GET', query, headers }, 0);
  if (!r.ok) return r.refusal;
  const { user, carrier } = r;
  return [user && `${user.issuer}/${user.subject}`, carrier.headers, carrier.query];
}

test('one issuer: none, good, bad; the token goes unless it is to be forwarded', async () => {
  const rule = { issuer: 'i', jwks: await keys(one) };
  const good = await sign(one, { iss: 'i', sub: 's' });
  const bearer = ['authorization', `Bearer ${good}`] as const;
  assert.deepEqual(await ask([rule], [['x', '1']]), [undefined, [['x', '1']], '']);
  assert.deepEqual(await ask([rule], [bearer, ['x', '1']]), ['i/s', [['x', '1']], '']);
  assert.deepEqual(await ask([{ ...rule, forward: true }], [bearer]), ['i/s', [bearer], '']);
  assert.deepEqual(await ask([rule], [], `?a=1&access_token=${good}&b=%20`), [
    'i/s',
    [],
    '?a=1&b=%20',
  ]);
  assert.equal(await ask([rule], [['authorization', 'Bearer x']]), refusals.form);
  assert.equal(await ask([rule], [['authorization', 'Bearer ']]), refusals.form);
  // Another scheme is no token of ours.
  assert.deepEqual(await ask([rule], [['authorization', 'Basic eA==']]), [
    undefined,
    [['authorization', 'Basic eA==']],
    '',
  ]);
});

test('a location of its own switches the default ones off; cookies stay', async () => {
  const rule = {
    issuer: 'i',
    jwks: await keys(one),
    fromHeaders: [{ name: 'X-Token', prefix: 'JWT ' }],
    fromCookies: ['session'],
  };
  const good = await sign(one, { iss: 'i', sub: 's' });
  assert.deepEqual(await ask([rule], [['x-token', `JWT ${good}`]]), ['i/s', [], '']);
  const cookie = [['cookie', `a=b; session=${good}`]] as const;
  assert.deepEqual(await ask([rule], cookie), ['i/s', cookie, '']);
  const other = [['authorization', 'Bearer x']] as const;
  assert.deepEqual(await ask([rule], other), [undefined, other, '']);
});

test('J8 several issuers and several tokens, by the rule table', async () => {
  const a = { issuer: 'a', jwks: await keys(one) };
  const b = { issuer: 'b', jwks: await keys(two), fromHeaders: [{ name: 'x-b', prefix: '' }] };
  const goodA = ['authorization', `Bearer ${await sign(one, { iss: 'a', sub: 's' })}`] as const;
  const goodB = ['x-b', await sign(two, { iss: 'b', sub: 't' })] as const;
  const wrongKey = ['x-b', await sign(one, { iss: 'b', sub: 't' })] as const;
  const stranger = ['authorization', `Bearer ${await sign(one, { iss: 'c' })}`] as const;
  assert.deepEqual(await ask([a, b], []), [undefined, [], '']);
  assert.deepEqual(await ask([a, b], [goodB]), ['b/t', [], '']);
  assert.deepEqual(await ask([a, b], [goodA, goodB]), ['a/s', [], '']);
  // One that holds is enough, and the other does not go on.
  assert.deepEqual(await ask([a, b], [goodA, wrongKey]), ['a/s', [], '']);
  assert.equal(await ask([a, b], [wrongKey]), refusals.noKey);
  assert.equal(await ask([a, b], [stranger]), refusals.issuer);
  // In the places of one rule every token must hold.
  assert.equal(await ask([a], [goodA], '?access_token=x'), refusals.form);
});

test('J2 J10 keys are for their own algorithm; signatures of another form do not hold', async () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  const rule = {
    issuer: 'i',
    jwks: JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)) }, await one.jwk()] }),
  };
  const bearer = (t: string) => [['authorization', `Bearer ${t}`]] as const;
  const hmac = await new SignJWT({ iss: 'i' })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(pem));
  assert.equal(await ask([rule], bearer(hmac)), refusals.noKey);
  const parts = (await sign(one, { iss: 'i' })).split('.');
  for (const signature of [
    Buffer.alloc(64),
    Buffer.alloc(63, 1),
    Buffer.from('3006020101020101', 'hex'),
    Buffer.alloc(0),
  ]) {
    const forged = [parts[0], parts[1], signature.toString('base64url')].join('.');
    assert.equal(await ask([rule], bearer(forged)), refusals.verification);
  }
  const short = make({ alg: 'EdDSA' }, { iss: 'i' });
  const ed = generateKeyPairSync('ed25519').publicKey;
  const edRule = { issuer: 'i', jwks: JSON.stringify({ keys: [await exportJWK(ed)] }) };
  assert.equal(await ask([edRule], bearer(short)), refusals.ed25519);
});

test('J3 J9 a key that is not there: unknown kid, no keys, garbage, nothing fetched', async () => {
  const token = await sign(one, { iss: 'i' });
  const outcome = (jwks: string): Promise<unknown> =>
    ask([{ issuer: 'i', jwks }], [['authorization', `Bearer ${token}`]]);
  assert.equal(await outcome(await keys(two)), refusals.noKey);
  const kid = '../../etc/passwd'.repeat(700);
  const odd = await new SignJWT({ iss: 'i' })
    .setProtectedHeader({ alg: 'ES256', kid })
    .sign(one.privateKey);
  const rule = { issuer: 'i', jwks: await keys(one) };
  assert.equal(await ask([rule], [['authorization', `Bearer ${odd}`]]), refusals.noKey);
  assert.equal(await outcome('{"keys":[]}'), refusals.noKeys);
  assert.equal(await outcome('no JSON'), refusals.noKeys);
  assert.equal(await outcome('{"keys":[null,1,{"kty":1}]}'), refusals.noKeys);
  assert.equal(await outcome(''), refusals.notFetched);
  // A key without a kid is tried for every token.
  const { kid: _, ...bare } = await one.jwk();
  assert.ok(Array.isArray(await outcome(JSON.stringify({ keys: [bare] }))));
});

test('J11 claims in headers come from a checked token alone; line ends cannot be put in', async () => {
  const rule = {
    issuer: 'i',
    jwks: await keys(one),
    payloadHeader: 'x-payload',
    claimHeaders: [
      { header: 'x-role', claim: 'realm.role' },
      { header: 'x-n', claim: 'n' },
      { header: 'x-bad', claim: 'bad' },
    ],
  };
  const forged: HeaderList = [
    ['x-role', 'admin'],
    ['x-payload', 'e30'],
    ['x-bad', '1'],
  ];
  assert.deepEqual(await ask([rule], forged), [undefined, [], '']);
  const claims = { iss: 'i', sub: 's', realm: { role: 'é' }, n: 7, bad: 'a\r\nx: y' };
  const token = await sign(one, claims);
  assert.deepEqual(await ask([rule], [...forged, ['authorization', `Bearer ${token}`]]), [
    'i/s',
    [
      ['x-payload', token.split('.')[1]],
      ['x-role', Buffer.from('é').toString('latin1')],
      ['x-n', '7'],
    ],
    '',
  ]);
});

test('a preflight is not asked for a token', async () => {
  const compiled = compileTokenRules(
    decode(
      'ambientlite.waypoint.v1.ServiceConfig',
      encode('ambientlite.waypoint.v1.ServiceConfig', { jwtRules: [{ issuer: 'i', jwks: '' }] }),
    ).jwtRules,
  );
  assert.ok(compiled);
  const headers = [
    ['origin', 'http://o'],
    ['access-control-request-method', 'PUT'],
    ['authorization', 'Bearer x'],
  ] as const;
  const preflight = { method: 'OPTIONS', query: '', headers };
  assert.equal((await authenticate(compiled, preflight, 0)).ok, true);
  assert.equal((await authenticate(compiled, { ...preflight, method: 'GET' }, 0)).ok, false);
});
