// Signatures of end users' tokens: the keys of one issuer, and whether one of them made this signature. The only user
// of the token library.
import { compactVerify, type CryptoKey, importJWK, type JWK } from 'jose';
import { refusals, type Token } from './token.ts';

/** Checked tokens kept for each set of keys, so that a caller's next request costs no signature. */
const cacheSize = 100;

const familyOf: Readonly<Record<string, string>> = { ES: 'EC', HS: 'oct', RS: 'RSA', PS: 'RSA' };
const curves: Readonly<Record<string, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
};

/** A key is for one family of algorithms: never HMAC with the text of a public key. */
function fits(k: JWK, t: Token): boolean {
  if (t.kid !== undefined && k.kid !== undefined && k.kid !== t.kid) return false;
  if (k.alg !== undefined && k.alg !== t.alg) return false;
  if (k.use !== undefined && k.use !== 'sig') return false;
  const type = t.alg === 'EdDSA' ? 'OKP' : familyOf[t.alg.slice(0, 2)];
  const curve = curves[t.alg];
  return k.kty === type && (curve === undefined || k.crv === curve);
}

const isJwk = (k: unknown): k is JWK =>
  typeof k === 'object' && k !== null && 'kty' in k && typeof k.kty === 'string';

function readKeys(jwks: string): readonly JWK[] {
  try {
    const set = JSON.parse(jwks) as { keys?: unknown };
    return Array.isArray(set?.keys) ? set.keys.filter(isJwk) : [];
  } catch {
    return [];
  }
}

export class TokenKeys {
  readonly #known: boolean;
  readonly #keys: readonly JWK[];
  readonly #imported = new Map<string, Promise<CryptoKey | Uint8Array>>();
  readonly #good = new Set<string>();

  /** `jwks` is a JSON Web Key Set (RFC 7517); empty = none could be fetched. */
  constructor(jwks: string) {
    this.#known = jwks !== '';
    this.#keys = readKeys(jwks);
  }

  /** Why the signature is not good, or nothing. Never rejects. */
  async refusal(text: string, t: Token): Promise<string | undefined> {
    if (!this.#known) return refusals.notFetched;
    if (this.#keys.length === 0) return refusals.noKeys;
    if (this.#good.has(text)) return undefined;
    const candidates = this.#keys.filter((k) => fits(k, t));
    if (candidates.length === 0) return refusals.noKey;
    if (t.alg === 'EdDSA' && t.signatureBytes !== 64) return refusals.ed25519;
    for (const k of candidates) {
      if (!(await this.#made(k, text, t.alg))) continue;
      this.#remember(text);
      return undefined;
    }
    return refusals.verification;
  }

  async #made(k: JWK, text: string, alg: string): Promise<boolean> {
    const id = `${this.#keys.indexOf(k)} ${alg}`;
    let key = this.#imported.get(id);
    if (!key) {
      key = importJWK(k, alg);
      key.catch(() => {});
      this.#imported.set(id, key);
    }
    try {
      await compactVerify(text, await key, { algorithms: [alg] });
      return true;
    } catch {
      // A key that cannot be read, is too weak, or made another signature: the same to a caller.
      return false;
    }
  }

  #remember(text: string): void {
    if (this.#good.size >= cacheSize) {
      const [oldest] = this.#good;
      if (oldest !== undefined) this.#good.delete(oldest);
    }
    this.#good.add(text);
  }
}
