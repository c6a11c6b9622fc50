// Which certificates are shown to callers from outside, by the name they ask for, and whether they are: real handshakes
// over pipes in memory.
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { duplexPair } from 'node:stream';
import { before, describe, test } from 'node:test';
import tls from 'node:tls';
import { systemClock } from '../core/runtime/index.ts';
import { acceptEdge, certificatesFor, type EdgeCertificate } from './edge.ts';
import { leafProfile, makeCa, makeCert, type TestCert } from './testkit.ts';

type KeyType = 'ec' | 'rsa' | 'ed25519';

function keyOf(type: KeyType): { keyPem: string; publicKey: Uint8Array } {
  const made =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : type === 'ec'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
  return {
    publicKey: made.publicKey.export({ type: 'spki', format: 'der' }),
    keyPem: made.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

let root: TestCert;
async function pair(type: KeyType, ...dns: string[]): Promise<EdgeCertificate> {
  const profile = { ...leafProfile(), names: { critical: true, dns } };
  const made = await makeCert(root, { profile, key: keyOf(type) });
  return { certificates: made.pem, privateKey: made.keyPem };
}
const certs: Record<string, EdgeCertificate> = {};
const pick = (...names: string[]): EdgeCertificate[] =>
  names.map((n) => certs[n]).filter((c) => c !== undefined);

before(async () => {
  root = await makeCa();
  certs['one'] = await pair('ec', 'one.example.com');
  certs['one-rsa'] = await pair('rsa', 'one.example.com');
  certs['one-again'] = await pair('ec', 'one.example.com');
  certs['wild'] = await pair('ec', '*.example.com');
  certs['other'] = await pair('ed25519', 'other.example.com', 'two.example.com');
});

describe('the certificates for a server name', () => {
  const rows: readonly (readonly [string, string[], string[]])[] = [
    ['one.example.com', ['wild', 'one'], ['one']],
    ['x.example.com', ['one', 'wild'], ['wild']],
    ['one.example.com', ['one', 'one-rsa', 'wild'], ['one', 'one-rsa']],
    ['one.example.com', ['one', 'one-again'], ['one']],
    ['one.example.com', ['wild', 'one-rsa'], ['one-rsa']],
    ['two.example.com', ['one', 'other'], ['other']],
    ['a.b.example.com', ['other', 'wild'], ['other']],
    ['', ['one', 'other', 'one-rsa'], ['one', 'one-rsa']],
    ['', ['other', 'one', 'one-rsa'], ['other']],
    ['nowhere.org', ['one'], ['one']],
    ['', [], []],
  ];
  for (const [name, given, wanted] of rows) {
    test(`${name || 'none'} of ${given.join(', ') || 'none'}: ${wanted.join(', ') || 'none'}`, () => {
      const found = certificatesFor(pick(...given), name);
      assert.deepEqual(
        found.map((c) => Object.keys(certs).find((n) => certs[n] === c)),
        wanted,
      );
    });
  }
});

describe('what a caller is shown', () => {
  /** Type of the key that was shown. */
  async function shown(
    servername: string,
    o: tls.ConnectionOptions = {},
    said = servername,
  ): Promise<string> {
    const [near, far] = duplexPair();
    const all = pick('one', 'one-rsa', 'other');
    const accepted = acceptEdge(far, all, said, { clock: systemClock });
    accepted.catch(() => {});
    const socket = tls.connect({ socket: near, servername, ca: root.pem, ...o });
    const raw = await new Promise<Buffer>((resolve, reject) => {
      socket.once('secureConnect', () => resolve(socket.getPeerCertificate().raw));
      socket.once('error', reject);
    });
    await accepted;
    socket.destroy();
    return new X509Certificate(raw).publicKey.asymmetricKeyType ?? '';
  }
  const rows: readonly (readonly [string, string, tls.ConnectionOptions, string])[] = [
    ['takes RSA alone', 'one.example.com', { sigalgs: 'rsa_pss_rsae_sha256' }, 'rsa'],
    ['takes ECDSA alone', 'one.example.com', { sigalgs: 'ecdsa_secp256r1_sha256' }, 'ec'],
    [
      'takes RSA alone, TLS 1.2',
      'one.example.com',
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' },
      'rsa',
    ],
    ['asks for another name', 'two.example.com', {}, 'ed25519'],
  ];
  for (const [name, servername, o, wanted] of rows) {
    test(`who ${name}: ${wanted}`, async () => assert.equal(await shown(servername, o), wanted));
  }
  test('who takes RSA alone, for a name without one: no handshake', async () => {
    await assert.rejects(shown('two.example.com', { sigalgs: 'rsa_pss_rsae_sha256' }));
  });
  test('T8 who asks for another name than was looked up: no handshake', async () => {
    const blind = shown('one.example.com', { rejectUnauthorized: false }, 'other.example.com');
    await assert.rejects(blind, { code: 'TLS_HANDSHAKE', message: /another server name/ });
  });
});
