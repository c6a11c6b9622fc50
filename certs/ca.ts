// The signer: a root of its own or one that was loaded, and the two kinds of leaves it signs (workloads,
// servers). Who may have which identity was decided before (istiod-lite/ca/policy).
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { Clock } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import { CaError } from './ca-error.ts';
import { type CertificateFacts, readCertificate } from './certificate.ts';
import { checkCsr } from './csr.ts';
import { createKeyPair, publicKeyOf, randomSerial } from './keys.ts';
import { pemBlocks, pemToDer } from './pem.ts';
import { mergeRoots } from './trust.ts';
import { issueCertificate, oid, type Profile } from './x509.ts';

const dayMs = 24 * 3600 * 1000;
/** Certificates start this long before they are made, so that a peer's slow clock accepts them (S8). */
export const backdateMs = 2 * 60 * 1000;
export const defaultTtlSeconds = 24 * 3600;
export const maxTtlSeconds = 90 * 24 * 3600;

/** What a Secret `istio-ca-secret` holds: PEM texts. */
export interface CaMaterial {
  /** ca-cert.pem: the signing certificate. */
  readonly certPem: string;
  /** ca-key.pem: its private key. */
  readonly keyPem: string;
  /** cert-chain.pem: intermediates above the signing certificate, without the root; usually empty. */
  readonly chainPem: string;
  /** root-cert.pem: all roots to trust; several while they rotate (S37). */
  readonly rootPem: string;
}

export interface SignWorkload {
  /** PKCS#10 PEM; only its key is used. */
  readonly csr: string;
  /** From the authenticated caller, never from the request (S30). */
  readonly identity: SpiffeId;
  /** 0 = default 24 h; negative or over 90 days = InvalidArgument; never beyond the signer's end. */
  readonly ttlSeconds: number;
}

export interface SignedChain {
  /** Leaf first, then one element per intermediate (S34). PEM. */
  readonly chain: readonly string[];
  /** The whole root bundle, PEM. */
  readonly roots: string;
}

/** A server's own certificate with its key, PEM. `chainPem` = leaf and intermediates. */
export interface ServerCertificate {
  readonly keyPem: string;
  readonly chainPem: string;
  readonly rootPem: string;
  readonly notAfterMs: number;
}

export interface CertificateAuthority {
  readonly material: CaMaterial;
  signWorkload(request: SignWorkload): Promise<SignedChain>;
  /** A TLS server certificate (not SPIFFE) with a fresh key for DNS names and addresses. */
  signServer(request: {
    readonly dns: readonly string[];
    readonly ips: readonly string[];
    readonly ttlSeconds: number;
  }): Promise<ServerCertificate>;
}

const leafUsage = {
  keyUsage: { critical: true, usages: ['digitalSignature', 'keyEncipherment'] },
  ca: { is: false },
} as const;

const workloadProfile = (id: SpiffeId): Profile => ({
  ...leafUsage,
  extendedKeyUsage: [oid.serverAuth, oid.clientAuth],
  names: { critical: true, uris: [id] },
});

const rootProfile: Profile = {
  ca: { is: true },
  keyUsage: { critical: true, usages: ['keyCertSign', 'crlSign'] },
};

/** A self-signed P-256 root for `trustDomain`, ten years unless told; its own signing certificate (S33). */
export async function createCa(options: {
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly days?: number;
}): Promise<CertificateAuthority> {
  const { keyPem, publicKey } = await createKeyPair();
  const now = options.clock.now();
  const certPem = await issueCertificate({
    serialHex: randomSerial(),
    notBeforeMs: now - backdateMs,
    notAfterMs: now + (options.days ?? 3650) * dayMs,
    subject: `O=${options.trustDomain}`,
    publicKey,
    profile: rootProfile,
    signingKey: createPrivateKey(keyPem),
  });
  return loadCa({ certPem, keyPem, chainPem: '', rootPem: certPem }, options);
}

/**
 * The same self-signed root with a later end: same key and name, so that what was signed before is good below
 * either. Both are in the new bundle (S37).
 */
export async function renewRoot(
  material: CaMaterial,
  options: { readonly clock: Clock; readonly trustDomain: string; readonly days?: number },
): Promise<CaMaterial> {
  const now = options.clock.now();
  const certPem = await issueCertificate({
    serialHex: randomSerial(),
    notBeforeMs: now - backdateMs,
    notAfterMs: now + (options.days ?? 3650) * dayMs,
    subject: `O=${options.trustDomain}`,
    publicKey: publicKeyOf(material.keyPem),
    profile: rootProfile,
    signingKey: createPrivateKey(material.keyPem),
  });
  return { ...material, certPem, rootPem: mergeRoots([certPem, material.rootPem]) };
}

/** Uses existing material. Throws `CaError` if key and certificate do not fit or it is no CA. */
export function loadCa(
  material: CaMaterial,
  options: { readonly clock: Clock },
): CertificateAuthority {
  const { facts, key } = checkMaterial(material);
  const upper = pemBlocks(material.chainPem);
  const own = isRoot(facts) ? [] : [material.certPem];
  const roots = mergeRoots([material.rootPem]);

  const sign = async (publicKey: Uint8Array, profile: Profile, ttlSeconds: number) => {
    const now = options.clock.now();
    const notAfterMs = Math.min(now + lifetime(ttlSeconds) * 1000, facts.notAfterMs);
    if (notAfterMs <= now) throw new CaError('Internal', 'the signing certificate has expired');
    const pem = await issueCertificate({
      serialHex: randomSerial(),
      notBeforeMs: now - backdateMs,
      notAfterMs,
      subject: '',
      publicKey,
      profile,
      issuerPem: material.certPem,
      signingKey: key,
    });
    return { chain: [pem, ...own, ...upper], notAfterMs };
  };

  return {
    material,
    async signWorkload({ csr, identity, ttlSeconds }) {
      lifetime(ttlSeconds);
      const { chain } = await sign(await checkCsr(csr), workloadProfile(identity), ttlSeconds);
      return { chain, roots };
    },
    async signServer({ dns, ips, ttlSeconds }) {
      const pair = await createKeyPair();
      const names = { critical: true, dns, ips };
      const profile = { ...leafUsage, extendedKeyUsage: [oid.serverAuth], names };
      const { chain, notAfterMs } = await sign(pair.publicKey, profile, ttlSeconds);
      return { keyPem: pair.keyPem, chainPem: chain.join(''), rootPem: roots, notAfterMs };
    },
  };
}

function isRoot(facts: CertificateFacts): boolean {
  return facts.issuer === facts.subject;
}

function lifetime(ttlSeconds: number): number {
  if (ttlSeconds === 0) return defaultTtlSeconds;
  if (!Number.isFinite(ttlSeconds) || ttlSeconds < 0 || ttlSeconds > maxTtlSeconds) {
    throw new CaError(
      'InvalidArgument',
      `lifetime must be 0 or between 1 s and ${maxTtlSeconds} s`,
    );
  }
  return ttlSeconds;
}

function checkMaterial(material: CaMaterial): { facts: CertificateFacts; key: KeyObject } {
  let key: KeyObject;
  let same: boolean;
  const der = pemToDer(material.certPem);
  const facts = readCertificate(der);
  try {
    key = createPrivateKey(material.keyPem);
    same = certificateHasKey(der, publicKeyOf(material.keyPem));
  } catch (cause) {
    throw new CaError('Internal', 'the CA key cannot be read', cause);
  }
  if (!facts?.ca || facts.keyUsage?.keyCertSign === false) {
    throw new CaError('Internal', 'the CA certificate may not sign certificates');
  }
  if (!same) throw new CaError('Internal', 'the CA key does not belong to the CA certificate');
  return { facts, key };
}

/** The key is embedded byte by byte in the certificate, so a search is a comparison. */
function certificateHasKey(certificate: Uint8Array, spki: Uint8Array): boolean {
  return Buffer.from(certificate).includes(Buffer.from(spki));
}
