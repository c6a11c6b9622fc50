// What our CA issues: rows S30–S38 of reliability-checklist.md 1.3.
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
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

test('S31: a CSR with a broken signature, a weak key or too many bytes is refused', async () => {
  const { csr } = await createCsr(id);
  const der = Buffer.from(csr.replace(/-----[^-]+-----/g, ''), 'base64');
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
  const broken = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  await assert.rejects(sign(0, broken), refused(/signature/));
  await assert.rejects(sign(0, 'no request'), refused(/cannot be read/));
  await assert.rejects(sign(0, csr + ' '.repeat(maxRequestBytes)), refused(/16 KiB/));
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const pem = weak.export({ type: 'pkcs8', format: 'pem' }) as string;
  await assert.rejects(sign(0, await createRequest(pem, id)), refused(/2048/));
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
