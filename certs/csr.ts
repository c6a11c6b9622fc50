// Certificate requests: the proxy makes one per identity, the CA trusts nothing in it but the key
// (S30, S31).
import { createPublicKey } from 'node:crypto';
import type { SpiffeId } from '../core/model/index.ts';
import { CaError } from './ca-error.ts';
import { createKeyPair } from './keys.ts';
import { createRequest, verifiedRequestKey } from './x509.ts';

/** Largest request looked at, bytes (S31). */
export const maxRequestBytes = 16 * 1024;

export interface CertificateRequest {
  /** PKCS#10 PEM. */
  readonly csr: string;
  /** PKCS#8 PEM; never leaves this process. */
  readonly keyPem: string;
}

/** A new P-256 key and a request for `id`: empty subject, one critical URI name. */
export async function createCsr(id: SpiffeId): Promise<CertificateRequest> {
  const { keyPem } = await createKeyPair();
  return { csr: await createRequest(keyPem, id), keyPem };
}

/**
 * The public key (SubjectPublicKeyInfo) of a request, after checking size, self-signature and key type. Names and
 * extensions inside are ignored, but for one that asks to be a CA: it is refused (K4). Throws `CaError` InvalidArgument.
 */
export async function checkCsr(pem: string): Promise<Uint8Array> {
  if (pem.length > maxRequestBytes) throw new CaError('InvalidArgument', 'CSR larger than 16 KiB');
  let key: Uint8Array;
  try {
    key = await verifiedRequestKey(pem);
  } catch (cause) {
    throw new CaError(
      'InvalidArgument',
      'CSR cannot be read, its signature does not hold, or it asks to be a CA',
      cause,
    );
  }
  if (!isStrongKey(key)) {
    throw new CaError(
      'InvalidArgument',
      'CSR key must be P-256, P-384, Ed25519 or RSA of 2048 bits',
    );
  }
  return key;
}

function isStrongKey(spki: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const details = key.asymmetricKeyDetails ?? {};
    if (key.asymmetricKeyType === 'ed25519') return true;
    if (key.asymmetricKeyType === 'rsa') {
      const bits = details.modulusLength ?? 0;
      return bits >= 2048 && bits <= 8192;
    }
    const curve = details.namedCurve;
    return key.asymmetricKeyType === 'ec' && (curve === 'prime256v1' || curve === 'secp384r1');
  } catch {
    return false;
  }
}
