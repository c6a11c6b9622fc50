// Certificates of every kind, good and bad, for the tests of this folder. No PEM is ever committed.
import { createPrivateKey } from 'node:crypto';
import { pemToDer } from './pem.ts';
import { createKeyPair, randomSerial } from './keys.ts';
import { type Issue, issueCertificate, oid, type Profile } from './x509.ts';

export interface TestCert {
  readonly pem: string;
  readonly der: Uint8Array;
  readonly keyPem: string;
}

export const goodId = 'spiffe://cluster.local/ns/shop/sa/web';

export const leafProfile = (...uris: string[]): Profile => ({
  ca: { is: false },
  keyUsage: { critical: true, usages: ['digitalSignature', 'keyEncipherment'] },
  extendedKeyUsage: [oid.serverAuth, oid.clientAuth],
  names: { critical: true, uris: uris.length > 0 ? uris : [goodId] },
});

export const caProfile = (pathLength?: number): Profile => ({
  ca: { is: true, ...(pathLength !== undefined && { pathLength }) },
  keyUsage: { critical: true, usages: ['keyCertSign', 'crlSign'] },
});

export interface TestIssue {
  readonly profile?: Profile;
  readonly subject?: string;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly serialHex?: string;
  readonly key?: { readonly keyPem: string; readonly publicKey: Uint8Array };
}

/** Signed by `issuer`, or by itself. Valid from a minute ago for an hour. */
export async function makeCert(issuer: TestCert | undefined, t: TestIssue = {}): Promise<TestCert> {
  const key = t.key ?? (await createKeyPair());
  const now = Date.now();
  const issue: Issue = {
    serialHex: t.serialHex ?? randomSerial(),
    notBeforeMs: t.notBeforeMs ?? now - 60_000,
    notAfterMs: t.notAfterMs ?? now + 3_600_000,
    subject: t.subject ?? '',
    publicKey: key.publicKey,
    profile: t.profile ?? leafProfile(),
    signingKey: createPrivateKey(issuer?.keyPem ?? key.keyPem),
    ...(issuer && { issuerPem: issuer.pem }),
  };
  const pem = await issueCertificate(issue);
  return { pem, der: pemToDer(pem), keyPem: key.keyPem };
}

let names = 0;

/** A root or, with an issuer, an intermediate; each with a name of its own. */
export function makeCa(issuer?: TestCert, profile: Profile = caProfile()): Promise<TestCert> {
  return makeCert(issuer, { profile, subject: `CN=test ca ${++names}` });
}
