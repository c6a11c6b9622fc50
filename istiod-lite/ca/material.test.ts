// The shapes a CA may be plugged in with, and how one may follow another (control-plane.md 5.5, checklist F12).
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { caProfile, makeCa, makeCert } from '../../certs/testkit.ts';
import { type CaFiles, type CaSource, decideCaChange, leadsTo, readCaFiles } from './material.ts';

const root = await makeCa();
const other = await makeCa();
const upper = await makeCa(root);
const lower = await makeCa(upper);
const lower2 = await makeCa(upper);
const stranger = await makeCa(other);
/** The same root with a later end: same key, same name. */
const renewed = await makeCert(undefined, {
  key: {
    keyPem: root.keyPem,
    publicKey: (await import('node:crypto'))
      .createPublicKey(root.keyPem)
      .export({ type: 'spki', format: 'der' }),
  },
  profile: caProfile(),
  subject: new X509Certificate(root.pem).subject,
  notAfterMs: Date.now() + 9_000_000,
});

const files = (o: Record<string, string>): CaFiles => new Map(Object.entries(o));
const istio = (more: Record<string, string> = {}): CaFiles =>
  files({
    'ca-cert.pem': lower.pem,
    'ca-key.pem': lower.keyPem,
    'cert-chain.pem': upper.pem,
    'root-cert.pem': root.pem,
    ...more,
  });

function read(f: CaFiles): CaSource {
  const r = readCaFiles(f);
  assert.ok(r.kind === 'ok', r.kind === 'bad' ? r.why : r.kind);
  return r;
}

describe('shapes', () => {
  test('Istio’s names: signer, its issuers without the root, roots', () => {
    const { material } = read(istio());
    assert.equal(material.certPem.trim(), lower.pem.trim());
    assert.equal(material.chainPem.trim(), upper.pem.trim());
    assert.equal(material.rootPem.trim(), root.pem.trim());
  });

  const orders: readonly [string, string][] = [
    [
      'with the signer and the root in it, as Istio’s tool writes it',
      lower.pem + upper.pem + root.pem,
    ],
    ['in another order', root.pem + upper.pem + lower.pem],
    ['with strangers in it', stranger.pem + upper.pem],
  ];
  for (const [what, chain] of orders) {
    test(`a chain ${what}`, () => {
      assert.equal(
        read(istio({ 'cert-chain.pem': chain })).material.chainPem.trim(),
        upper.pem.trim(),
      );
    });
  }

  test('cert-manager’s names', () => {
    const { material } = read(
      files({ 'tls.crt': lower.pem + upper.pem, 'tls.key': lower.keyPem, 'ca.crt': root.pem }),
    );
    assert.equal(material.certPem.trim(), lower.pem.trim());
    assert.equal(material.chainPem.trim(), upper.pem.trim());
  });

  test('a root that signs itself has no chain', () => {
    const f = files({
      'ca-cert.pem': root.pem,
      'ca-key.pem': root.keyPem,
      'root-cert.pem': root.pem,
    });
    assert.equal(read(f).material.chainPem, '');
  });

  test('a revocation list comes along', () => {
    assert.equal(read(istio({ 'ca-crl.pem': 'LIST' })).crlPem, 'LIST\n');
    assert.equal(read(istio()).crlPem, undefined);
  });

  const bad: readonly [string, CaFiles, RegExp][] = [
    ['no key', istio({ 'ca-key.pem': '' }), /lacks ca-key\.pem/],
    ['no roots', istio({ 'root-cert.pem': ' \n' }), /lacks root-cert\.pem/],
    ['only a key', files({ 'ca-key.pem': root.keyPem }), /lacks ca-cert\.pem and root-cert\.pem/],
    [
      'cert-manager’s without its root',
      files({ 'tls.crt': root.pem, 'tls.key': root.keyPem }),
      /lacks ca\.crt/,
    ],
    ['garbage', istio({ 'ca-cert.pem': 'garbage' }), /cannot be read/],
    [
      'a certificate of garbage',
      istio({ 'ca-cert.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }),
      /cannot be read/,
    ],
    ['a missing link', istio({ 'cert-chain.pem': '' }), /leads to none of its roots/],
    ['another’s root', istio({ 'root-cert.pem': other.pem }), /leads to none of its roots/],
  ];
  for (const [what, f, why] of bad) {
    test(`${what}: refused as a whole`, () => {
      const r = readCaFiles(f);
      assert.ok(r.kind === 'bad');
      assert.match(r.why, why);
    });
  }

  test('nothing of it there is no CA, and no fault', () => {
    assert.equal(readCaFiles(files({ 'root-cert.pem': root.pem })).kind, 'none');
    assert.equal(readCaFiles(files({})).kind, 'none');
  });
});

describe('F12 one CA after another', () => {
  const source = (
    cert: { pem: string; keyPem: string },
    chain: string,
    ...roots: string[]
  ): CaSource => ({
    material: { certPem: cert.pem, keyPem: cert.keyPem, chainPem: chain, rootPem: roots.join('') },
  });
  const now = source(lower, upper.pem, root.pem);
  const rows: readonly [string, CaSource, CaSource, string][] = [
    ['the same', now, source(lower, upper.pem, root.pem), 'same'],
    ['a new intermediate below the same root', now, source(lower2, upper.pem, root.pem), 'take'],
    ['a root is added', now, source(lower, upper.pem, root.pem, other.pem), 'take'],
    [
      'a signer below a root added before',
      source(lower, upper.pem, root.pem, other.pem),
      source(stranger, '', root.pem, other.pem),
      'take',
    ],
    [
      'the old root goes',
      source(stranger, '', root.pem, other.pem),
      source(stranger, '', other.pem),
      'take',
    ],
    ['the roots are swapped in one step', now, source(stranger, '', other.pem), 'refuse'],
    ['a root is added and signs at once', now, source(stranger, '', root.pem, other.pem), 'refuse'],
    [
      'two of three are exchanged',
      source(lower, upper.pem, root.pem, other.pem),
      source(lower, upper.pem, root.pem, stranger.pem),
      'refuse',
    ],
    [
      'a root renewed with the same key',
      source(root, '', root.pem),
      source(renewed, '', renewed.pem, root.pem),
      'take',
    ],
    ['only the revocation list changes', now, { ...now, crlPem: 'x' }, 'take'],
  ];
  for (const [what, before, after, want] of rows) {
    test(`${what}: ${want}`, () => assert.equal(decideCaChange(before, after).kind, want));
  }

  test('a certificate leads to the roots of its chain only', () => {
    assert.ok(leadsTo(now.material, root.pem));
    assert.ok(!leadsTo(now.material, other.pem));
  });
});
