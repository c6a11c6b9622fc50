// The only user of @peculiar/x509: makes and signs certificates and requests. Reading a peer's
// certificate is certificate.ts (our own DER reader), and deciding about it is peer.ts.
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

export const oid = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** What a certificate says beside names and dates. Absent parts are left out of the certificate. */
export interface Profile {
  readonly ca?: { readonly is: boolean; readonly pathLength?: number };
  readonly keyUsage?: { readonly critical: boolean; readonly usages: readonly KeyUsage[] };
  /** OIDs. */
  readonly extendedKeyUsage?: readonly string[];
  readonly names?: {
    readonly critical: boolean;
    readonly uris?: readonly string[];
    readonly dns?: readonly string[];
    readonly ips?: readonly string[];
  };
  /** OIDs of further critical extensions with an empty value; only tests want them. */
  readonly critical?: readonly string[];
}

export type KeyUsage = 'digitalSignature' | 'keyEncipherment' | 'keyCertSign' | 'crlSign';

const usageBits: Record<KeyUsage, x509.KeyUsageFlags> = {
  digitalSignature: x509.KeyUsageFlags.digitalSignature,
  keyEncipherment: x509.KeyUsageFlags.keyEncipherment,
  keyCertSign: x509.KeyUsageFlags.keyCertSign,
  crlSign: x509.KeyUsageFlags.cRLSign,
};

export interface Issue {
  readonly serialHex: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** RFC 4514 text; `''` = empty subject. */
  readonly subject: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly profile: Profile;
  /** Absent = self-signed with `signingKey`. */
  readonly issuerPem?: string;
  readonly signingKey: KeyObject;
}

interface Algorithm {
  readonly name: string;
  readonly namedCurve?: string;
  readonly hash?: string;
}

/** WebCrypto's words for a key; throws on kinds that S14 refuses. */
function algorithmOf(key: KeyObject): Algorithm {
  const details = key.asymmetricKeyDetails;
  switch (key.asymmetricKeyType) {
    case 'ec':
      if (details?.namedCurve === 'prime256v1') {
        return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
      }
      if (details?.namedCurve === 'secp384r1') {
        return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
      }
      break;
    case 'rsa':
      return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    case 'ed25519':
      return { name: 'Ed25519' };
    default:
      break;
  }
  throw new TypeError(`a key of type ${key.asymmetricKeyType ?? 'unknown'} cannot sign here`);
}

function cryptoKey(key: KeyObject, usages: webcrypto.KeyUsage[]): webcrypto.CryptoKey {
  const algorithm = algorithmOf(key);
  return key.toCryptoKey(algorithm as webcrypto.EcKeyImportParams, true, usages);
}

function extensions(profile: Profile): x509.Extension[] {
  const out: x509.Extension[] = [];
  if (profile.ca) {
    out.push(new x509.BasicConstraintsExtension(profile.ca.is, profile.ca.pathLength, true));
  }
  if (profile.keyUsage) {
    const flags = profile.keyUsage.usages.reduce((all, u) => all | usageBits[u], 0);
    out.push(new x509.KeyUsagesExtension(flags, profile.keyUsage.critical));
  }
  if (profile.extendedKeyUsage) {
    out.push(new x509.ExtendedKeyUsageExtension([...profile.extendedKeyUsage], false));
  }
  if (profile.names) out.push(alternativeNames(profile.names));
  for (const type of profile.critical ?? []) {
    out.push(new x509.Extension(type, true, new Uint8Array([5, 0])));
  }
  return out;
}

function alternativeNames(names: NonNullable<Profile['names']>): x509.Extension {
  return new x509.SubjectAlternativeNameExtension(
    [
      ...(names.uris ?? []).map((value) => ({ type: 'url' as const, value })),
      ...(names.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
      ...(names.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
    ],
    names.critical,
  );
}

/** Signs a certificate; PEM. Key identifiers are always included. */
export async function issueCertificate(issue: Issue): Promise<string> {
  const issuer =
    issue.issuerPem === undefined ? undefined : new x509.X509Certificate(issue.issuerPem);
  const publicKey = new x509.PublicKey(issue.publicKey);
  const issuerKey = issuer?.publicKey ?? publicKey;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: issue.serialHex,
    subject: issue.subject,
    issuer: issuer ? issuer.subjectName : issue.subject,
    notBefore: new Date(issue.notBeforeMs),
    notAfter: new Date(issue.notAfterMs),
    publicKey,
    signingKey: cryptoKey(issue.signingKey, ['sign']),
    signingAlgorithm: algorithmOf(issue.signingKey),
    extensions: [
      ...extensions(issue.profile),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuerKey),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** A PKCS#10 request with an empty subject and one critical URI name (ztunnel-protocol.md 8.1). */
export async function createRequest(
  keyPem: string,
  uris: string | readonly string[],
  ca = false,
): Promise<string> {
  const privateKey = createPrivateKey(keyPem);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: '',
    keys: {
      privateKey: cryptoKey(privateKey, ['sign']),
      publicKey: cryptoKey(createPublicKey(privateKey), ['verify']),
    },
    signingAlgorithm: algorithmOf(privateKey),
    extensions: [
      alternativeNames({ critical: true, uris: [uris].flat() }),
      ...(ca ? [new x509.BasicConstraintsExtension(true, undefined, true)] : []),
    ],
  });
  return `${request.toString('pem')}\n`;
}

/** SubjectPublicKeyInfo of a request whose own signature holds and that does not ask to be a CA; throws on anything else. */
export async function verifiedRequestKey(pem: string): Promise<Uint8Array> {
  const request = new x509.Pkcs10CertificateRequest(pem);
  if (request.extensions.some((e) => e instanceof x509.BasicConstraintsExtension && e.ca))
    throw new TypeError('it asks to be a CA');
  if (!(await request.verify())) throw new TypeError('its signature does not verify');
  return new Uint8Array(request.publicKey.rawData);
}
