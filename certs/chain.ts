// Builds and verifies the path from a peer's leaf to a root of its trust domain's bundle, with a fixed
// budget of signature checks (S7, S15). The TLS library did its own; this one gives the very path that
// revocation and bundle rules are judged on.
import { X509Certificate } from 'node:crypto';
import { trustDomainOf } from '../core/model/index.ts';
import { type CertificateFacts, readCertificate } from './certificate.ts';
import {
  checkLeaf,
  checkPath,
  checkSize,
  maxChainCertificates,
  type PeerName,
  type PeerRules,
  type Refusal,
  refusal,
} from './peer.ts';
import type { Bundle, TrustMap } from './trust.ts';

/** Signature checks one peer may cost. */
const maxSignatures = 32;

interface Link {
  readonly facts: CertificateFacts;
  readonly x509: X509Certificate;
}

export type ChainVerdict =
  | { readonly ok: true; readonly peer: PeerName; readonly path: readonly CertificateFacts[] }
  | Refusal;

/**
 * `sent`: DER, leaf first, as the peer presented them; `known`: issuers that may stand in for what it did not. Never
 * throws.
 */
export function verifyChain(
  sent: readonly Uint8Array[],
  trust: TrustMap,
  rules: PeerRules,
  nowMs: number,
  known: readonly Uint8Array[] = [],
): ChainVerdict {
  try {
    return verify(sent, trust, rules, nowMs, known);
  } catch {
    return refusal('S9', 'a certificate of the chain cannot be read');
  }
}

function verify(
  sent: readonly Uint8Array[],
  trust: TrustMap,
  rules: PeerRules,
  nowMs: number,
  known: readonly Uint8Array[],
): ChainVerdict {
  const size = checkSize(sent);
  if (size) return size;
  const leaf = linkOf(sent[0]);
  if (!leaf) return refusal('S9', 'the leaf cannot be read');
  const verdict = checkLeaf(leaf.facts, rules, nowMs);
  if (!verdict.ok) return verdict;
  const roots = rootsOf(trust.get(trustDomainOf(verdict.peer.id)) ?? []);
  const between = [...sent.slice(1).map(linkOf), ...known.map(knownLinkOf)].filter(
    (l) => l !== undefined,
  );
  const path = findPath(leaf, between, roots);
  if (!path) {
    return refusal('S7', 'the chain does not lead to a root of its trust domain', 'PEER_UNTRUSTED');
  }
  const facts = path.map((l) => l.facts);
  return checkPath(facts, rules, nowMs) ?? { ok: true, peer: verdict.peer, path: facts };
}

function linkOf(der: Uint8Array | undefined): Link | undefined {
  const facts = der && readCertificate(der);
  return facts && { facts, x509: new X509Certificate(der) };
}

const knownLinks = new WeakMap<Uint8Array, Link>();

function knownLinkOf(der: Uint8Array): Link | undefined {
  const link = knownLinks.get(der) ?? linkOf(der);
  if (link) knownLinks.set(der, link);
  return link;
}

// Bundles are few and live long; parsing a root for each handshake would cost more than the check.
const parsedRoots = new WeakMap<Bundle, readonly Link[]>();

function rootsOf(bundle: Bundle): readonly Link[] {
  let links = parsedRoots.get(bundle);
  if (!links) {
    links = bundle
      .map((pem) => linkOf(new X509Certificate(pem).raw))
      .filter((l) => l !== undefined);
    parsedRoots.set(bundle, links);
  }
  return links;
}

/** Depth-first, roots before what was sent, each certificate at most once on a path. */
function findPath(leaf: Link, sent: readonly Link[], roots: readonly Link[]): Link[] | undefined {
  let budget = maxSignatures;
  const signed = (child: Link, by: Link): boolean =>
    child.facts.issuer === by.facts.subject && budget-- > 0 && child.x509.verify(by.x509.publicKey);
  const climb = (path: readonly Link[]): Link[] | undefined => {
    const last = path.at(-1) ?? leaf;
    const root = roots.find((r) => signed(last, r));
    if (root) return [...path, root];
    if (path.length >= maxChainCertificates) return undefined;
    for (const next of sent) {
      if (path.includes(next) || budget <= 0 || !signed(last, next)) continue;
      const found = climb([...path, next]);
      if (found) return found;
    }
    return undefined;
  };
  return climb([leaf]);
}
