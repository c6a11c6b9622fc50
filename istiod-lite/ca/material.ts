// What a Secret or directory says the CA is: the shapes of control-plane.md 5.5, checked as a whole before any
// of it is used, and the rule by which one CA may follow another without a refused request (F12).
import { X509Certificate } from 'node:crypto';
import {
  type Bundle,
  bundleOf,
  type CaMaterial,
  mergeRoots,
  pemBlocks,
} from '../../certs/index.ts';

/** Names and texts of one source; names that it lacks are absent. */
export type CaFiles = ReadonlyMap<string, string>;

export interface CaSource {
  readonly material: CaMaterial;
  /** ca-crl.pem: the revocation list to publish, if there is one. */
  readonly crlPem?: string;
}

export type CaReading =
  | { readonly kind: 'none' }
  | { readonly kind: 'bad'; readonly why: string }
  | ({ readonly kind: 'ok' } & CaSource);

/** Every name that is read; anything else in the source is somebody else's. */
export const caFileNames = [
  'ca-cert.pem',
  'ca-key.pem',
  'cert-chain.pem',
  'root-cert.pem',
  'ca-crl.pem',
  'tls.crt',
  'tls.key',
  'ca.crt',
] as const;

const bad = (why: string): CaReading => ({ kind: 'bad', why });

function certificates(text: string): X509Certificate[] {
  return pemBlocks(text).map((pem) => new X509Certificate(pem));
}

/** Whether `root` vouches for `c`, or is it. */
const vouches = (root: X509Certificate, c: X509Certificate): boolean =>
  root.raw.equals(c.raw) || (c.checkIssued(root) && c.verify(root.publicKey));

/** The issuers of `signing` found in `among`, nearest first, up to and without a root. */
function issuersOf(
  signing: X509Certificate,
  among: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let at = signing;
  while (chain.length < 8 && !roots.some((r) => vouches(r, at))) {
    const issuer = among.find((c) => !c.raw.equals(at.raw) && vouches(c, at));
    if (!issuer) break;
    chain.push(issuer);
    at = issuer;
  }
  return chain;
}

/** Whether what this CA signs is accepted by those who trust `rootPem` alone. */
export function leadsTo(material: CaMaterial, rootPem: string): boolean {
  const roots = certificates(rootPem);
  return [material.certPem, ...pemBlocks(material.chainPem)]
    .map((pem) => new X509Certificate(pem))
    .some((c) => roots.some((r) => vouches(r, c)));
}

/** Istio's names, or cert-manager's. A part of either is a fault, as is a chain that leads to no root. */
export function readCaFiles(files: CaFiles): CaReading {
  const text = (name: string): string => files.get(name)?.trim() ?? '';
  const istio = text('ca-cert.pem') !== '' || text('ca-key.pem') !== '';
  const manager = text('tls.crt') !== '' || text('tls.key') !== '';
  if (!istio && !manager) return { kind: 'none' };
  const [certName, keyName, rootName] = istio
    ? (['ca-cert.pem', 'ca-key.pem', 'root-cert.pem'] as const)
    : (['tls.crt', 'tls.key', 'ca.crt'] as const);
  const lacking = [certName, keyName, rootName].filter((n) => text(n) === '');
  if (lacking.length > 0) return bad(`it lacks ${lacking.join(' and ')}`);
  try {
    return assemble(
      text(certName),
      text(keyName),
      text(rootName),
      text('cert-chain.pem'),
      text('ca-crl.pem'),
    );
  } catch {
    return bad('a certificate in it cannot be read');
  }
}

function assemble(cert: string, key: string, root: string, chain: string, crl: string): CaReading {
  const [signing, ...rest] = certificates(cert);
  const roots = certificates(root);
  if (!signing || roots.length === 0) return bad('a certificate in it cannot be read');
  const issuers = issuersOf(signing, [...rest, ...certificates(chain)], roots);
  const material: CaMaterial = {
    certPem: signing.toString(),
    keyPem: `${key}\n`,
    chainPem: issuers.map((c) => c.toString()).join(''),
    rootPem: mergeRoots([root]),
  };
  if (!leadsTo(material, root)) return bad('its signing certificate leads to none of its roots');
  return { kind: 'ok', material, ...(crl !== '' && { crlPem: `${crl}\n` }) };
}

export type CaChange =
  | { readonly kind: 'same' | 'take' }
  | { readonly kind: 'refuse'; readonly why: string };

/**
 * A root is added or removed, never swapped in one step, and nothing is signed below a root that proxies may
 * not have yet: first both roots and the old signer, then the new signer, then the old root goes.
 */
export function decideCaChange(now: CaSource, next: CaSource): CaChange {
  const texts = (s: CaSource): string =>
    [
      s.material.certPem,
      s.material.keyPem,
      s.material.chainPem,
      s.material.rootPem,
      s.crlPem,
    ].join();
  if (texts(now) === texts(next)) return { kind: 'same' };
  const before = bundleOf([now.material.rootPem]);
  const after = bundleOf([next.material.rootPem]);
  const within = (some: Bundle, all: Bundle): boolean => some.every((r) => all.includes(r));
  if (!within(before, after) && !within(after, before)) {
    return {
      kind: 'refuse',
      why: 'the roots are swapped in one step; put the old and the new ones together first',
    };
  }
  if (!leadsTo(next.material, now.material.rootPem)) {
    return {
      kind: 'refuse',
      why: 'the signing certificate leads to a root that proxies do not have yet; add the root first, and change the signer when every proxy has renewed',
    };
  }
  return { kind: 'take' };
}
