// Judges the certificate of a peer: the rules that the TLS library does not hold (design.md 8 "Identity
// checks before HTTP/2"). Pure: certificates come in as facts, the answer names the broken rule of
// reliability-checklist.md 1.2. Signatures and path building are chain.ts.
import type { FaultCode } from '../core/base/index.ts';
import {
  type Identity,
  parseIdentity,
  parseSpiffeId,
  type SpiffeId,
  trustDomainOf,
} from '../core/model/index.ts';
import type { CertificateFacts } from './certificate.ts';

/** Issuer name (DER, hex) → serials (hex) that are revoked. */
export type Revocations = ReadonlyMap<string, ReadonlySet<string>>;

export interface PeerRules {
  /** Ours and its configured aliases (S11). */
  readonly trustDomains: readonly string[];
  /** Connector only: one of these must be presented; an empty list always fails (S12). */
  readonly expected?: readonly SpiffeId[];
  readonly revoked?: Revocations;
}

export interface PeerName {
  readonly id: SpiffeId;
  /** Absent for ids that are not /ns/N/sa/S: they match raw-principal rules only (S17). */
  readonly identity: Identity | undefined;
}

export interface Refusal {
  readonly ok: false;
  readonly code: FaultCode;
  /** Row of the checklist, for logs and counters. */
  readonly rule: string;
  readonly detail: string;
}

export type PeerVerdict = { readonly ok: true; readonly peer: PeerName } | Refusal;

export const maxChainCertificates = 8;
export const maxChainBytes = 64 * 1024;

export function refusal(
  rule: string,
  detail: string,
  code: FaultCode = 'PEER_CERT_INVALID',
): Refusal {
  return { ok: false, code, rule, detail };
}

/** Cost limits before anything is parsed (S15). `undefined` = fine. */
export function checkSize(sent: readonly Uint8Array[]): Refusal | undefined {
  if (sent.length === 0) return refusal('T4', 'no certificate was presented', 'TLS_HANDSHAKE');
  if (sent.length > maxChainCertificates) {
    return refusal('S15', `more than ${maxChainCertificates} certificates`);
  }
  let bytes = 0;
  for (const der of sent) bytes += der.length;
  return bytes > maxChainBytes
    ? refusal('S15', `chain larger than ${maxChainBytes} bytes`)
    : undefined;
}

/** The leaf alone: who is it, and may it be a leaf. */
export function checkLeaf(leaf: CertificateFacts, rules: PeerRules, nowMs: number): PeerVerdict {
  const uris = leaf.names?.uris ?? [];
  if (uris.length !== 1) return refusal('S1', `${uris.length} URI names instead of one`);
  const id = parseSpiffeId(uris[0] ?? '');
  if (!id) return refusal('S2', 'the URI name is not a SPIFFE id with a path');
  if (leaf.ca) return refusal('S3', 'the leaf is a CA certificate');
  const profile = checkUsage(leaf) ?? checkEvery(leaf, nowMs);
  if (profile) return profile;
  if (!strongKey(leaf))
    return refusal('S14', `a key of kind ${leaf.key.kind}, ${leaf.key.bits} bits`);
  if (!rules.trustDomains.includes(trustDomainOf(id))) {
    return refusal('S11', `trust domain ${trustDomainOf(id)}`, 'PEER_TRUST_DOMAIN');
  }
  if (rules.expected && !rules.expected.includes(id)) {
    const detail = `expected ${rules.expected.join(' or ') || 'nobody'}, got ${id}`;
    return refusal('S12', detail, 'PEER_IDENTITY_MISMATCH');
  }
  return { ok: true, peer: { id, identity: parseIdentity(id) } };
}

function checkUsage(leaf: CertificateFacts): Refusal | undefined {
  const use = leaf.keyUsage;
  if (!use) return refusal('S4', 'no key usage');
  if (!use.critical) return refusal('S4', 'key usage is not critical');
  if (!use.digitalSignature) return refusal('S4', 'key usage lacks digitalSignature');
  if (use.keyCertSign || use.crlSign) return refusal('S4', 'key usage allows signing certificates');
  const purposes = leaf.extendedKeyUsage;
  if (purposes && !(purposes.includes(clientAuth) && purposes.includes(serverAuth))) {
    return refusal('S5', 'extended key usage lacks the client or the server purpose');
  }
  if (leaf.emptySubject && leaf.names?.critical !== true) {
    return refusal('S6', 'empty subject and alternative names that are not critical');
  }
  return undefined;
}

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

/** What holds for each certificate of a chain. */
function checkEvery(c: CertificateFacts, nowMs: number): Refusal | undefined {
  if (nowMs < c.notBeforeMs) return refusal('S8', 'not valid yet');
  if (nowMs > c.notAfterMs + 999) return refusal('S8', 'expired');
  if (c.unknownCritical[0] !== undefined) {
    return refusal('S9', `unknown critical extension ${c.unknownCritical[0]}`);
  }
  return c.repeated[0] === undefined
    ? undefined
    : refusal('S9', `extension ${c.repeated[0]} twice`);
}

function strongKey({ key }: CertificateFacts): boolean {
  if (key.kind === 'RSA') return key.bits >= 2048;
  return key.kind !== 'other';
}

// ECDSA, RSA PKCS#1 and Ed25519 with SHA-256 or better (S14).
const strongSignatures: ReadonlySet<string> = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
]);

/**
 * The verified path, leaf first and root last: signatures are already checked. CA flags, path lengths,
 * dates, algorithms and revocation of all of them (S8–S10, S14, S18).
 */
export function checkPath(
  path: readonly CertificateFacts[],
  rules: PeerRules,
  nowMs: number,
): Refusal | undefined {
  for (const [i, c] of path.entries()) {
    const root = i === path.length - 1 && c.issuer === c.subject;
    const fault = checkEvery(c, nowMs) ?? (i > 0 ? checkIssuer(c, path.slice(1, i)) : undefined);
    if (fault) return fault;
    if (!root && !strongSignatures.has(c.signatureOid)) {
      return refusal('S14', `signature algorithm ${c.signatureOid}`);
    }
    if (!strongKey(c)) return refusal('S14', `a key of kind ${c.key.kind}, ${c.key.bits} bits`);
    if (rules.revoked?.get(c.issuer)?.has(c.serial)) {
      return refusal('S18', `certificate ${c.serial} is revoked`, 'CERT_REVOKED');
    }
  }
  return undefined;
}

/** `below` = the intermediates between this certificate and the leaf. */
function checkIssuer(c: CertificateFacts, below: readonly CertificateFacts[]): Refusal | undefined {
  if (!c.ca) return refusal('S10', 'an issuer is not a CA');
  if (c.keyUsage && !c.keyUsage.keyCertSign) return refusal('S10', 'an issuer may not sign');
  const length = below.filter((b) => b.issuer !== b.subject).length;
  if (c.pathLength !== undefined && length > c.pathLength) {
    return refusal('S10', 'path length exceeded');
  }
  return undefined;
}
