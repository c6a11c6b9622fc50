// Revocation lists as they are written: by a library, by hand, cut off, and none at all (F13, S18).
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { test } from 'node:test';
import { X509Certificate, X509CrlGenerator } from '@peculiar/x509';
import { loadRevocations, readCertificate } from './index.ts';
import { makeCa, makeCert, type TestCert } from './testkit.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

async function listOf(by: TestCert, serials: readonly string[], nextUpdate?: Date) {
  const list = await X509CrlGenerator.create({
    issuer: new X509Certificate(by.pem).subject,
    thisUpdate: new Date(),
    ...(nextUpdate && { nextUpdate }),
    entries: serials.map((serialNumber) => ({ serialNumber, revocationDate: new Date() })),
    signingAlgorithm: algorithm,
    signingKey: createPrivateKey(by.keyPem).toCryptoKey(algorithm, false, ['sign']),
  });
  return Buffer.from(list.rawData);
}
const pem = (der: Buffer): string =>
  `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`;

const one = await makeCa();
const two = await makeCa();
const leaf = readCertificate((await makeCert(one, { serialHex: '00a1b2' })).der);
assert.ok(leaf);
const { issuer } = leaf;
const other = readCertificate((await makeCert(two)).der)?.issuer ?? '';
const day = new Date(Date.now() + 86_400_000);

test('F13 S18 what is on a list is found as certificates name it', async () => {
  const der = await listOf(one, ['00a1b2', '7f', '0100'], day);
  for (const bytes of [der, Buffer.from(pem(der))]) {
    const found = loadRevocations(bytes);
    assert.deepEqual([...found.keys()], [issuer]);
    assert.ok(found.get(issuer)?.has(leaf.serial));
    assert.equal(found.get(issuer)?.size, 3);
  }
});

test('F13 a list that names no next one revokes all the same', async () => {
  const found = loadRevocations(await listOf(one, ['a1b2']));
  assert.ok(found.get(issuer)?.has(leaf.serial));
});

test('F13 one whose time is over counts too, an empty one is a list', async () => {
  const past = loadRevocations(await listOf(one, ['a1b2'], new Date(0)));
  assert.ok(past.get(issuer)?.has(leaf.serial));
  assert.equal(loadRevocations(await listOf(one, [], day)).get(issuer)?.size, 0);
});

test('F13 several lists of a file are united, by issuer', async () => {
  const text = [
    await listOf(one, ['01'], day),
    await listOf(two, ['02']),
    await listOf(one, ['03']),
  ]
    .map(pem)
    .join('some text\n');
  const found = loadRevocations(Buffer.from(text));
  assert.deepEqual([...(found.get(issuer) ?? [])], ['01', '03']);
  assert.deepEqual([...(found.get(other) ?? [])], ['02']);
});

test('F13 what is cut off anywhere, or is something else, is no list', async () => {
  const der = await listOf(one, ['a1b2', '7f'], day);
  for (let n = 0; n < der.length; n++) assert.throws(() => loadRevocations(der.subarray(0, n)));
  const text = pem(der) + pem(der);
  for (const n of [text.length - 2, text.length - 30, text.length / 2 + 40])
    assert.throws(() => loadRevocations(Buffer.from(text.slice(0, n))), /list/);
  assert.throws(() => loadRevocations(Buffer.from(one.pem)), /no revocation list/);
  assert.throws(() => loadRevocations(Buffer.from(one.der)), /no revocation list/);
});
