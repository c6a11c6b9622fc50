// Revocation lists as a plain look-up by issuer and serial (S18). Node's own `crl` option demands a list
// for every issuer and honours its expiry; Istio wants neither.
import type { Revocations } from './peer.ts';
import { readCrl } from './x509.ts';

export type { Revocations } from './peer.ts';

const begin = '-----BEGIN X509 CRL-----';
const end = '-----END X509 CRL-----';

/** All lists of a PEM text, or one in DER. Throws if any cannot be read, so that the old ones are kept. */
export function loadRevocations(bytes: Uint8Array): Revocations {
  const text = Buffer.from(bytes).toString('latin1');
  const lists = text.includes(begin) ? blocks(text).map(readCrl) : [readCrl(bytes)];
  const all = new Map<string, Set<string>>();
  for (const { issuer, serials } of lists) {
    const known = all.get(issuer) ?? new Set();
    for (const s of serials) known.add(trimZeros(s));
    all.set(issuer, known);
  }
  return all;
}

function blocks(text: string): string[] {
  const out: string[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const stop = text.indexOf(end, at);
    if (stop < 0) break;
    out.push(text.slice(at, stop + end.length));
    at = stop + end.length;
  }
  return out;
}

function trimZeros(hex: string): string {
  let at = 0;
  while (at < hex.length - 2 && hex.startsWith('00', at)) at += 2;
  return hex.slice(at);
}
