// Which roots vouch for which trust domain (S7, S36, S37). Bundles are PEM texts; a root is known by the
// hex of its DER, so the same root twice is one.
import { hexText } from './der.ts';
import { derToPem, pemBlocks, pemToDer } from './pem.ts';

/** Roots of one trust domain, PEM blocks. Empty = trust nobody. */
export type Bundle = readonly string[];

/** Trust domain → its roots. */
export type TrustMap = ReadonlyMap<string, Bundle>;

/** One bundle out of several PEM texts, each root once, in order of appearance (S37). */
export function mergeRoots(texts: readonly string[]): string {
  return bundleOf(texts).join('');
}

export function bundleOf(texts: readonly string[]): Bundle {
  const seen = new Map<string, string>();
  for (const pem of texts.flatMap(pemBlocks)) {
    const der = pemToDer(pem);
    const key = hexText(der);
    if (der.length > 0 && !seen.has(key)) seen.set(key, derToPem(der));
  }
  return [...seen.values()];
}

/** One entry of a SPIFFE bundle document (JWK form). */
export interface BundleEntry {
  readonly use: string;
  readonly kty: string;
  /** Base64 DER; only the first counts (S36). */
  readonly x5c: readonly string[];
}

/**
 * Bundle documents of several trust domains → a trust map. Entries of unknown use or key type are
 * skipped; the same trust domain twice gives `undefined` (S36).
 */
export function trustMapOf(
  bundles: readonly { readonly trustDomain: string; readonly keys: readonly BundleEntry[] }[],
): TrustMap | undefined {
  const map = new Map<string, Bundle>();
  for (const { trustDomain, keys } of bundles) {
    if (map.has(trustDomain)) return undefined;
    const roots = keys
      .filter((k) => k.use === 'x509-svid' && ['EC', 'RSA', 'OKP'].includes(k.kty))
      .map((k) => k.x5c[0])
      .filter((first) => first !== undefined && first !== '')
      .map((first) => derToPem(Buffer.from(first ?? '', 'base64')));
    map.set(trustDomain, bundleOf(roots));
  }
  return map;
}
