// A workload's key, chain and roots, checked before first use (style-models.md 6.4 step 4), and the
// moment at which it should be renewed.
import { X509Certificate } from 'node:crypto';
import { MeshError } from '../core/base/index.ts';
import { type SpiffeId, trustDomainOf } from '../core/model/index.ts';
import type { SignedChain } from './ca.ts';
import { readCertificate } from './certificate.ts';
import { verifyChain } from './chain.ts';
import { publicKeyOf } from './keys.ts';
import { pemBlocks, pemToDer } from './pem.ts';
import { type Bundle, bundleOf } from './trust.ts';

export interface WorkloadCert {
  readonly id: SpiffeId;
  /** PKCS#8 PEM. Never logged, never dumped. */
  readonly keyPem: string;
  /** Leaf first, then intermediates; PEM. The root is not sent. */
  readonly chain: readonly string[];
  readonly roots: Bundle;
  /** Of the leaf, lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Checks what a CA answered; throws MeshError CERT_UNAVAILABLE that names what is wrong. */
export function makeWorkloadCert(
  id: SpiffeId,
  keyPem: string,
  signed: SignedChain,
  nowMs: number,
): WorkloadCert {
  const chain = signed.chain.map((text) => pemBlocks(text)[0] ?? '');
  const roots = bundleOf([signed.roots]);
  if (roots.length === 0) throw wrong('no root certificate present');
  const ders = chain.map(pemToDer);
  const facts = readCertificate(ders[0] ?? new Uint8Array());
  if (!facts || ders.some((d) => d.length === 0)) throw wrong('the chain cannot be read');
  const rules = { trustDomains: [trustDomainOf(id)], expected: [id] };
  const verdict = verifyChain(ders, new Map([[trustDomainOf(id), roots]]), rules, nowMs);
  if (!verdict.ok) throw wrong(`${verdict.rule}: ${verdict.detail}`);
  const leafKey = new X509Certificate(chain[0] ?? '').publicKey.export({
    type: 'spki',
    format: 'der',
  });
  if (!leafKey.equals(publicKeyOf(keyPem))) throw wrong('the certificate is for another key');
  const { serial, notBeforeMs, notAfterMs } = facts;
  return { id, keyPem, chain, roots, serial, notBeforeMs, notAfterMs };
}

function wrong(detail: string): MeshError {
  return new MeshError('CERT_UNAVAILABLE', { detail: `the CA's answer is not usable: ${detail}` });
}
