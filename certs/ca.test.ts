// What our CA issues: rows S30–S38 of reliability-checklist.md 1.3.
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import { FakeClock } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import { backdateMs, createCa, loadCa, maxTtlSeconds } from './ca.ts';
import { CaError } from './ca-error.ts';
import { readCertificate } from './certificate.ts';
import { createCsr, maxRequestBytes } from './csr.ts';
import { publicKeyOf } from './keys.ts';
import { pemBlocks, pemToDer } from './pem.ts';
import { caProfile, makeCa, makeCert } from './testkit.ts';
import { bundleOf, mergeRoots, trustMapOf } from './trust.ts';
import { createRequest } from './x509.ts';

const id = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const clock = new FakeClock();
const ca = await createCa({ trustDomain: 'cluster.local', clock });

const sign = async (ttlSeconds: number, csr?: string) => {
  const request = csr ?? (await createCsr(id)).csr;
  const { chain } = await ca.signWorkload({ csr: request, identity: id, ttlSeconds });
  const facts = readCertificate(pemToDer(chain[0] ?? ''));
  assert.ok(facts);
  return facts;
};

const refused = (pattern: RegExp) => (error: unknown) =>
  error instanceof CaError && error.code === 'InvalidArgument' && pattern.test(error.message);

test('S30: the identity is the caller’s, not the one in the CSR', async () => {
  const { csr } = await createCsr('spiffe://cluster.local/ns/kube-system/sa/admin' as SpiffeId);
  const facts = await sign(0, csr);
  assert.deepEqual(facts.names?.uris, [id]);
});

describe('S31 K4 requests that are refused, before anything is signed', async () => {
  const { csr, keyPem } = await createCsr(id);
  const flipped = (at: number): string => {
    const der = Buffer.from(csr.replace(/-----[^-]+-----/g, ''), 'base64');
    der[at < 0 ? der.length + at : at] = (der.at(at) ?? 0) ^ 1;
    return `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  };
  const keyOf = (kind: KeyObject): string =>
    kind.export({ type: 'pkcs8', format: 'pem' }) as string;
  const names = (n: number): string[] => Array.from({ length: n }, (_, i) => `${id}-${i}`);
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['nothing', '', /cannot be read/],
    ['garbage', 'no request', /cannot be read/],
    ['a frame of garbage', csr.replace(/[A-Za-z0-9+/]{20}/, '!'.repeat(20)), /cannot be read/],
    ['cut short', `${csr.slice(0, csr.length / 2)}`, /cannot be read/],
    ['a certificate', ca.material.certPem, /cannot be read/],
    ['1 MB', csr + ' '.repeat(1 << 20), /16 KiB/],
    ['one byte too long', csr.padEnd(maxRequestBytes + 1), /16 KiB/],
    ['a wrong signature', flipped(-1), /signature does not hold/],
    ['another key than the one that signed', flipped(60), /signature does not hold|cannot be read/],
    ['an extension that makes it a CA', await createRequest(keyPem, id, true), /asks to be a CA/],
    ['a thousand names', await createRequest(keyPem, names(1000)), /16 KiB/],
    ['a weak key', await createRequest(keyOf(small), id), /2048/],
  ];
  for (const [what, request, why] of rows)
    test(what, () => assert.rejects(sign(0, request), refused(why)));

  test('a hundred names are as good as none', async () => {
    const facts = await sign(0, await createRequest(keyPem, names(100)));
    assert.deepEqual(facts.names?.uris, [id]);
  });
});

test('S32: the leaf has the profile of a workload and the asked lifetime', async () => {
  const facts = await sign(3600);
  assert.equal(facts.emptySubject, true);
  assert.deepEqual(facts.names, { critical: true, uris: [id], others: 0 });
  assert.equal(facts.ca, false);
  assert.equal(facts.keyUsage?.critical, true);
  assert.equal(facts.keyUsage?.digitalSignature, true);
  assert.equal(facts.keyUsage?.keyCertSign, false);
  assert.equal(facts.extendedKeyUsage?.length, 2);
  assert.equal(facts.notBeforeMs, clock.now() - backdateMs);
  assert.equal(facts.notAfterMs, clock.now() + 3_600_000);
});

test('S32: 0 is 24 h; negative and more than 90 days are refused; the signer’s end is the limit', async () => {
  assert.equal((await sign(0)).notAfterMs, clock.now() + 86_400_000);
  await assert.rejects(sign(-1), refused(/lifetime/));
  await assert.rejects(sign(maxTtlSeconds + 1), refused(/lifetime/));
  const short = await createCa({ trustDomain: 'cluster.local', clock, days: 1 });
  const { csr } = await createCsr(id);
  const { chain } = await short.signWorkload({ csr, identity: id, ttlSeconds: maxTtlSeconds });
  const facts = readCertificate(pemToDer(chain[0] ?? ''));
  assert.equal(facts?.notAfterMs, clock.now() + 86_400_000);
});

test('S33: the root is a CA that may sign, and has no SPIFFE id with a path', () => {
  const facts = readCertificate(pemToDer(ca.material.certPem));
  assert.equal(facts?.ca, true);
  assert.equal(facts?.keyUsage?.keyCertSign, true);
  assert.equal(facts?.names, undefined);
});

test('S34: leaf first, then each intermediate alone; the roots are one text', async () => {
  const root = await makeCa();
  const middle = await makeCert(root, { profile: caProfile(), subject: 'CN=middle' });
  const signer = loadCa(
    { certPem: middle.pem, keyPem: middle.keyPem, chainPem: '', rootPem: root.pem + middle.pem },
    { clock: new FakeClock(Date.now()) },
  );
  const { csr } = await createCsr(id);
  const { chain, roots } = await signer.signWorkload({ csr, identity: id, ttlSeconds: 60 });
  assert.equal(chain.length, 2);
  assert.deepEqual(
    chain.map((c) => pemBlocks(c).length),
    [1, 1],
  );
  assert.equal(pemBlocks(roots).length, 2);
});

test('S35: serial numbers are random, positive and 16 bytes', async () => {
  const [a, b] = [await sign(0), await sign(0)];
  assert.notEqual(a.serial, b.serial);
  assert.match(a.serial, /^[4-7][0-9a-f]{31}$/);
});

test('S36: bundle documents: unknown entries skipped, first certificate counts, no domain twice', async () => {
  const [one, two] = [await makeCa(), await makeCa()];
  const x5c = (...certs: { der: Uint8Array }[]) =>
    certs.map((c) => Buffer.from(c.der).toString('base64'));
  const key = { use: 'x509-svid', kty: 'EC', x5c: x5c(one, two) };
  const map = trustMapOf([
    { trustDomain: 'a', keys: [key, { ...key, use: 'jwt-svid' }, { ...key, kty: 'oct' }] },
    { trustDomain: 'b', keys: [] },
  ]);
  assert.deepEqual(map?.get('a'), bundleOf([one.pem]));
  assert.deepEqual(map?.get('b'), []);
  assert.equal(
    trustMapOf([
      { trustDomain: 'a', keys: [] },
      { trustDomain: 'a', keys: [] },
    ]),
    undefined,
  );
});

test('S37: several roots are one bundle, each once', async () => {
  const [one, two] = [await makeCa(), await makeCa()];
  const merged = mergeRoots([one.pem + two.pem, two.pem, one.pem]);
  assert.equal(pemBlocks(merged).length, 2);
});

test('S38: a server certificate comes with a key made for it', async () => {
  const server = await ca.signServer({
    dns: ['istiod.istio-system.svc'],
    ips: ['127.0.0.1'],
    ttlSeconds: 0,
  });
  const leaf = pemToDer(server.chainPem);
  assert.ok(Buffer.from(leaf).includes(Buffer.from(publicKeyOf(server.keyPem))));
  assert.equal(createPublicKey(server.keyPem).asymmetricKeyType, 'ec');
});

test('material whose key does not fit, or that is no CA, is refused at the start', async () => {
  const [one, two] = [await makeCa(), await makeCa()];
  const leaf = await makeCert(one);
  const material = (certPem: string, keyPem: string) => ({
    certPem,
    keyPem,
    chainPem: '',
    rootPem: certPem,
  });
  for (const m of [
    material(one.pem, two.keyPem),
    material(leaf.pem, leaf.keyPem),
    material(one.pem, 'no key'),
  ]) {
    assert.throws(() => loadCa(m, { clock }), CaError);
  }
});
