// The rows S1–S19 of reliability-checklist.md 1.2, one bad certificate each.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { SpiffeId } from '../core/model/index.ts';
import { readCertificate } from './certificate.ts';
import { type ChainVerdict, verifyChain } from './chain.ts';
import { makeCa, makeCert, caProfile, goodId, leafProfile, type TestCert } from './testkit.ts';
import type { PeerRules } from './peer.ts';
import { bundleOf } from './trust.ts';
import { oid, type Profile } from './x509.ts';

const root = await makeCa();
const rules: PeerRules = { trustDomains: ['cluster.local'] };

function judge(
  chain: readonly TestCert[],
  more: Partial<PeerRules> = {},
  roots: readonly TestCert[] = [root],
  nowMs = Date.now(),
): ChainVerdict {
  const bundle = bundleOf(roots.map((r) => r.pem));
  const domains = more.trustDomains ?? rules.trustDomains;
  const trust = new Map(domains.map((td) => [td, bundle]));
  return verifyChain(
    chain.map((c) => c.der),
    trust,
    { ...rules, ...more },
    nowMs,
  );
}

function refusedBy(verdict: ChainVerdict, rule: string): void {
  assert.equal(verdict.ok, false);
  assert.equal(verdict.ok ? '' : verdict.rule, rule);
}

const leaf = (profile: Profile): Promise<TestCert> => makeCert(root, { profile });

test('a good leaf is accepted with its identity', async () => {
  const verdict = judge([await makeCert(root)]);
  assert.ok(verdict.ok);
  assert.equal(verdict.peer.id, goodId);
  assert.deepEqual(verdict.peer.identity, {
    trustDomain: 'cluster.local',
    namespace: 'shop',
    serviceAccount: 'web',
  });
  assert.equal(verdict.path.length, 2);
});

test('S1: exactly one URI name; other kinds carry no meaning', async () => {
  refusedBy(judge([await leaf(leafProfile(goodId, 'spiffe://cluster.local/ns/a/sa/b'))]), 'S1');
  refusedBy(
    judge([await leaf({ ...leafProfile(), names: { critical: true, dns: ['web'] } })]),
    'S1',
  );
  const withDns = { critical: true, uris: [goodId], dns: ['web.shop'] };
  assert.ok(judge([await leaf({ ...leafProfile(), names: withDns })]).ok);
});

test('S2: the URI is a SPIFFE id with a path', async () => {
  for (const uri of [
    'spiffe://cluster.local',
    'spiffe://cluster.local/',
    'https://cluster.local/ns/a/sa/b',
    'spiffe://Cluster.local/ns/a/sa/b',
    'spiffe://cluster.local/ns//sa/b',
    'spiffe://cluster.local/%61',
    `spiffe://cluster.local/${'a'.repeat(2048)}`,
  ]) {
    refusedBy(judge([await leaf(leafProfile(uri))]), 'S2');
  }
});

test('S3: a CA is no leaf', async () => {
  refusedBy(judge([await leaf({ ...leafProfile(), ca: { is: true } })]), 'S3');
});

test('S4: key usage is there, critical, for signatures, and not for certificates', async () => {
  const { keyUsage: _none, ...without } = leafProfile();
  refusedBy(judge([await leaf(without)]), 'S4');
  for (const keyUsage of [
    { critical: false, usages: ['digitalSignature'] },
    { critical: true, usages: ['keyEncipherment'] },
    { critical: true, usages: ['digitalSignature', 'keyCertSign'] },
    { critical: true, usages: ['digitalSignature', 'crlSign'] },
  ] as const) {
    refusedBy(judge([await leaf({ ...leafProfile(), keyUsage })]), 'S4');
  }
});

test('S5: extended key usage has both purposes, or is absent', async () => {
  for (const purposes of [[oid.clientAuth], [oid.serverAuth]]) {
    refusedBy(judge([await leaf({ ...leafProfile(), extendedKeyUsage: purposes })]), 'S5');
  }
  const { extendedKeyUsage: _none, ...without } = leafProfile();
  assert.ok(judge([await leaf(without)]).ok);
});

test('S6: names are critical when the subject is empty', async () => {
  const names = { critical: false, uris: [goodId] };
  refusedBy(judge([await leaf({ ...leafProfile(), names })]), 'S6');
  const named = { profile: { ...leafProfile(), names }, subject: 'CN=web' };
  assert.ok(judge([await makeCert(root, named)]).ok);
});

test('S7: the path ends in a root of the id’s own trust domain', async () => {
  const foreign = await makeCa();
  refusedBy(judge([await makeCert(foreign)]), 'S7');
  const federated = new Map([
    ['cluster.local', bundleOf([root.pem])],
    ['other.example', bundleOf([foreign.pem])],
  ]);
  const ours = await makeCert(foreign);
  const both = { trustDomains: ['cluster.local', 'other.example'] };
  refusedBy(verifyChain([ours.der], federated, both, Date.now()), 'S7');
});

test('S8: every certificate is inside its dates, without tolerance at the end', async () => {
  const now = Date.now();
  const at = Math.floor(now / 1000) * 1000;
  const cert = await makeCert(root, { notBeforeMs: at - 60_000, notAfterMs: at });
  assert.ok(judge([cert], {}, [root], at).ok);
  refusedBy(judge([cert], {}, [root], at + 1000), 'S8');
  refusedBy(judge([cert], {}, [root], at - 61_000), 'S8');
  const old = await makeCert(root, {
    profile: caProfile(),
    subject: 'CN=old',
    notAfterMs: now - 1000,
  });
  refusedBy(judge([await makeCert(old), old]), 'S8');
});

test('S9: an unknown critical extension anywhere refuses', async () => {
  const critical = ['1.3.6.1.4.1.99999.1'];
  refusedBy(judge([await leaf({ ...leafProfile(), critical })]), 'S9');
  const odd = await makeCa(root, { ...caProfile(), critical });
  refusedBy(judge([await makeCert(odd), odd]), 'S9');
});

test('S10: intermediates are CAs, may sign, and keep their path length', async () => {
  const middle = await makeCa(root);
  assert.ok(judge([await makeCert(middle), middle]).ok);
  const notCa = await makeCa(root, { ca: { is: false } });
  refusedBy(judge([await makeCert(notCa), notCa]), 'S10');
  const noSign = await makeCa(root, {
    ca: { is: true },
    keyUsage: { critical: true, usages: ['crlSign'] },
  });
  refusedBy(judge([await makeCert(noSign), noSign]), 'S10');
  const short = await makeCa(root, caProfile(0));
  const below = await makeCa(short);
  refusedBy(judge([await makeCert(below), below, short]), 'S10');
});

test('S11: trust domain ours, or an explicit alias', async () => {
  const other = await leaf(leafProfile('spiffe://old.example/ns/shop/sa/web'));
  const verdict = judge([other]);
  refusedBy(verdict, 'S11');
  assert.equal(verdict.ok ? '' : verdict.code, 'PEER_TRUST_DOMAIN');
  assert.ok(judge([other], { trustDomains: ['cluster.local', 'old.example'] }).ok);
});

test('S12: the id is one of those expected; an empty list expects nobody', async () => {
  const cert = await makeCert(root);
  const expected = ['spiffe://cluster.local/ns/shop/sa/api' as SpiffeId];
  const verdict = judge([cert], { expected });
  assert.equal(verdict.ok ? '' : verdict.code, 'PEER_IDENTITY_MISMATCH');
  refusedBy(judge([cert], { expected: [] }), 'S12');
  assert.ok(judge([cert], { expected: [...expected, goodId as SpiffeId] }).ok);
});

test('S14: weak keys are refused', async () => {
  const rsa = (modulusLength: number) => {
    const pair = generateKeyPairSync('rsa', { modulusLength });
    return {
      keyPem: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      publicKey: pair.publicKey.export({ type: 'spki', format: 'der' }),
    };
  };
  refusedBy(judge([await makeCert(root, { key: rsa(1024) })]), 'S14');
  assert.ok(judge([await makeCert(root, { key: rsa(2048) })]).ok);
});

test('S15: at most 8 certificates; look-alikes cost a bounded number of checks', async () => {
  const cert = await makeCert(root);
  refusedBy(judge(Array.from({ length: 9 }, () => cert)), 'S15');
  const likes = await Promise.all(
    Array.from({ length: 6 }, () => makeCert(undefined, { profile: caProfile(), subject: 'CN=m' })),
  );
  const real = await makeCert(root, { profile: caProfile(), subject: 'CN=m' });
  const child = await makeCert(real);
  assert.ok(judge([child, ...likes, real]).ok);
});

test('T7 cycles, look-alikes and junk: the right answer, for less than 50 ms of CPU', async () => {
  const a = await makeCert(undefined, { profile: caProfile(), subject: 'CN=a' });
  const b = await makeCert(a, { profile: caProfile(), subject: 'CN=b' });
  const circle = await makeCert(b, { profile: caProfile(), subject: 'CN=a' });
  const ofB = await makeCert(b);
  const likes = await Promise.all(
    Array.from({ length: 8 }, () => makeCert(undefined, { profile: caProfile(), subject: 'CN=m' })),
  );
  const real = await makeCert(root, { profile: caProfile(), subject: 'CN=m' });
  const child = await makeCert(real);
  const junk = (length: number): TestCert => ({ ...child, der: Buffer.alloc(length, 0x30) });
  const rows: readonly (readonly [string, readonly TestCert[], string])[] = [
    ['a circle', [ofB, b, circle, a, b, circle, a], 'S7'],
    [
      'a hundred look-alikes',
      [child, ...Array.from({ length: 13 }, () => likes).flat(), real],
      'S15',
    ],
    ['six look-alikes before the right one', [child, ...likes.slice(0, 6), real], ''],
    ['as many look-alikes without it', [child, ...likes.slice(0, 7)], 'S7'],
    ['other leaves before the right one', [child, ofB, ofB, ofB, ofB, real], ''],
    ['junk before the right one', [child, junk(60_000), real], ''],
  ];
  for (const [what, chain, rule] of rows) {
    // The least of three: what compiles the first time is nobody's attack.
    const costs = [1, 2, 3].map(() => {
      const before = process.threadCpuUsage();
      const verdict = judge(chain);
      const { user, system } = process.threadCpuUsage(before);
      assert.equal(verdict.ok ? '' : verdict.rule, rule, what);
      return (user + system) / 1000;
    });
    assert.ok(Math.min(...costs) < 50, `${what}: ${costs.join()} ms`);
  }
});

test('S15: a chain that leads in a circle ends', async () => {
  const a = await makeCert(undefined, { profile: caProfile(), subject: 'CN=a' });
  const b = await makeCert(a, { profile: caProfile(), subject: 'CN=b' });
  const circle = await makeCert(b, { profile: caProfile(), subject: 'CN=a' });
  refusedBy(judge([await makeCert(b), b, circle, a]), 'S7');
});

test('S16: a NUL or a byte beyond ASCII makes the id invalid, never shorter', async () => {
  const good = await makeCert(root);
  const text = Buffer.from(goodId);
  for (const byte of [0x00, 0x0a, 0xe9]) {
    const der = Buffer.from(good.der);
    const at = der.indexOf(text);
    assert.ok(at > 0);
    der[at + text.length - 1] = byte;
    const facts = readCertificate(der);
    assert.equal(facts?.names?.uris[0]?.length, goodId.length);
    refusedBy(judge([{ ...good, der }]), 'S2');
  }
});

test('S17: an id of another form authenticates but has no mesh parts', async () => {
  const verdict = judge([await leaf(leafProfile('spiffe://cluster.local/robot/7'))]);
  assert.ok(verdict.ok);
  assert.equal(verdict.peer.identity, undefined);
});

test('S18: a revoked certificate anywhere on the path refuses, an unused one does not', async () => {
  const middle = await makeCa(root);
  const cert = await makeCert(middle);
  const of = (c: TestCert) => {
    const facts = readCertificate(c.der);
    return new Map([[facts?.issuer ?? '', new Set([facts?.serial ?? ''])]]);
  };
  for (const revoked of [of(cert), of(middle)]) {
    const verdict = judge([cert, middle], { revoked });
    refusedBy(verdict, 'S18');
    assert.equal(verdict.ok ? '' : verdict.code, 'CERT_REVOKED');
  }
  assert.ok(judge([cert, middle], { revoked: of(await makeCert(middle)) }).ok);
});

test('S19: common name and DNS names are never an identity', async () => {
  const profile = { ...leafProfile(), names: { critical: true, dns: ['web.shop.svc'] } };
  refusedBy(judge([await makeCert(root, { profile, subject: 'CN=cluster.local' })]), 'S1');
});

test('S33: the signing certificate is never accepted as a peer', () => {
  refusedBy(judge([root]), 'S1');
});

test('T6: ten thousand alternative names are refused in bounded time', async () => {
  const uris = Array.from({ length: 10_000 }, (_, i) => `spiffe://cluster.local/ns/a/sa/b${i}`);
  const verdict = judge([await leaf(leafProfile(...uris))]);
  assert.equal(verdict.ok, false);
});

test('junk instead of a certificate is refused, whatever it is', () => {
  for (const der of [new Uint8Array(), new Uint8Array([0x30, 0x80]), Buffer.alloc(300, 0x30)]) {
    assert.equal(judge([{ pem: '', keyPem: '', der }]).ok, false);
  }
});

test('every single-byte change of a good leaf is refused or read without harm', async () => {
  const good = await makeCert(root);
  for (let i = 0; i < good.der.length; i += 7) {
    const der = Buffer.from(good.der);
    der[i] = (der[i] ?? 0) ^ 0x55;
    assert.equal(judge([{ ...good, der }]).ok, false, `byte ${i}`);
  }
});
