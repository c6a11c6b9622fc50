// Private keys: made where they are used, never sent, never logged (S38).
import { createPublicKey, generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

export interface KeyPair {
  /** PKCS#8 PEM. */
  readonly keyPem: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
}

/** A fresh ECDSA P-256 key. */
export async function createKeyPair(): Promise<KeyPair> {
  const pair = await generate('ec', { namedCurve: 'prime256v1' });
  return {
    keyPem: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicKey: pair.publicKey.export({ type: 'spki', format: 'der' }),
  };
}

/** SubjectPublicKeyInfo of a private key in PEM. */
export function publicKeyOf(keyPem: string): Uint8Array {
  return createPublicKey(keyPem).export({ type: 'spki', format: 'der' });
}

/** 16 random bytes, positive and never zero (S35). */
export function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}
