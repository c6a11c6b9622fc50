// DER certificate → the fields that peer.ts judges. Reads, never decides; `undefined` = not a
// certificate we can read completely.
import {
  type Element,
  elementAt,
  elements,
  hexText,
  latin1,
  oidText,
  tags,
  timeMs,
} from './der.ts';

export type PublicKeyKind = 'P-256' | 'P-384' | 'Ed25519' | 'RSA' | 'other';

export interface CertificateFacts {
  /** Lower-case hex of the INTEGER without leading zeros. */
  readonly serial: string;
  /** DER names, hex: equal text = equal name. */
  readonly issuer: string;
  readonly subject: string;
  readonly emptySubject: boolean;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly key: { readonly kind: PublicKeyKind; readonly bits: number };
  /** OID of the signature over this certificate. */
  readonly signatureOid: string;
  readonly ca: boolean;
  readonly pathLength: number | undefined;
  readonly keyUsage:
    | {
        readonly critical: boolean;
        readonly digitalSignature: boolean;
        readonly keyCertSign: boolean;
        readonly crlSign: boolean;
      }
    | undefined;
  /** OIDs; `undefined` = no such extension. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** URI names with one character per byte; other kinds are only counted. */
  readonly names:
    | { readonly critical: boolean; readonly uris: readonly string[]; readonly others: number }
    | undefined;
  readonly unknownCritical: readonly string[];
  /** An extension that appears twice, which RFC 5280 4.2 forbids. */
  readonly repeated: readonly string[];
}

const ext = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  policies: '2.5.29.32',
  policyMappings: '2.5.29.33',
  policyConstraints: '2.5.29.36',
  extendedKeyUsage: '2.5.29.37',
  inhibitAnyPolicy: '2.5.29.54',
} as const;
/** Critical extensions that we or the TLS library process. */
const known: ReadonlySet<string> = new Set(Object.values(ext));

interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

export function readCertificate(der: Uint8Array): CertificateFacts | undefined {
  const outer = elementAt(der, 0);
  if (outer?.tag !== tags.sequence || outer.whole.length !== der.length) return undefined;
  const [tbs, algorithm] = elements(outer.content) ?? [];
  if (tbs?.tag !== tags.sequence || !algorithm) return undefined;
  const fields = elements(tbs.content);
  if (!fields) return undefined;
  if (fields[0]?.tag === 0xa0) fields.shift();
  const [serial, , issuer, validity, subject, spki] = fields;
  if (serial?.tag !== tags.integer || !issuer || !validity || !subject || !spki) return undefined;
  const dates = elements(validity.content)?.map(timeMs);
  const [notBeforeMs, notAfterMs] = dates ?? [];
  const key = readKey(spki);
  const extensions = readExtensions(fields.find((f) => f.tag === 0xa3));
  if (notBeforeMs === undefined || notAfterMs === undefined || !key || !extensions)
    return undefined;
  const constraints = readConstraints(extensions.all.get(ext.basicConstraints));
  const names = readNames(extensions.all.get(ext.subjectAltName));
  if (!constraints || names === 'bad') return undefined;
  return {
    serial: trimZeros(hexText(serial.content)),
    issuer: hexText(issuer.whole),
    subject: hexText(subject.whole),
    emptySubject: subject.content.length === 0,
    notBeforeMs,
    notAfterMs,
    key,
    signatureOid: firstOid(algorithm) ?? '',
    ...constraints,
    keyUsage: readUsage(extensions.all.get(ext.keyUsage)),
    extendedKeyUsage: readExtendedUsage(extensions.all.get(ext.extendedKeyUsage)),
    names,
    unknownCritical: [...extensions.all]
      .filter(([o, e]) => e.critical && !known.has(o))
      .map(([o]) => o),
    repeated: extensions.repeated,
  };
}

function trimZeros(hex: string): string {
  let at = 0;
  while (at < hex.length - 2 && hex.startsWith('00', at)) at += 2;
  return hex.slice(at);
}

function firstOid(sequence: Element): string | undefined {
  const first = elementAt(sequence.content, 0);
  return first?.tag === tags.oid ? oidText(first.content) : undefined;
}

function readKey(spki: Element): CertificateFacts['key'] | undefined {
  const [algorithm, key] = elements(spki.content) ?? [];
  if (!algorithm || key?.tag !== tags.bitString) return undefined;
  const [kind, parameter] = elements(algorithm.content) ?? [];
  if (kind?.tag !== tags.oid) return undefined;
  switch (oidText(kind.content)) {
    case '1.2.840.10045.2.1': {
      const curve = parameter?.tag === tags.oid ? oidText(parameter.content) : '';
      if (curve === '1.2.840.10045.3.1.7') return { kind: 'P-256', bits: 256 };
      return curve === '1.3.132.0.34' ? { kind: 'P-384', bits: 384 } : { kind: 'other', bits: 0 };
    }
    case '1.3.101.112':
      return { kind: 'Ed25519', bits: 256 };
    case '1.2.840.113549.1.1.1': {
      const numbers = elementAt(key.content, 1);
      const modulus = numbers && elementAt(numbers.content, 0);
      if (modulus?.tag !== tags.integer) return undefined;
      const hex = trimZeros(hexText(modulus.content));
      const top = Number.parseInt(hex.slice(0, 2), 16);
      return { kind: 'RSA', bits: (hex.length / 2 - 1) * 8 + (32 - Math.clz32(top)) };
    }
    default:
      return { kind: 'other', bits: 0 };
  }
}

function readExtensions(
  field: Element | undefined,
): { all: Map<string, Extension>; repeated: string[] } | undefined {
  const all = new Map<string, Extension>();
  const repeated: string[] = [];
  if (!field) return { all, repeated };
  const list = elementAt(field.content, 0);
  for (const e of (list && elements(list.content)) ?? []) {
    const parts = elements(e.content);
    const type = parts?.[0];
    const value = parts?.at(-1);
    if (type?.tag !== tags.oid || value?.tag !== tags.octetString || !parts) return undefined;
    const name = oidText(type.content);
    if (all.has(name)) repeated.push(name);
    const critical =
      parts.length === 3 && parts[1]?.tag === tags.boolean && parts[1].content[0] !== 0;
    all.set(name, { critical, value: value.content });
  }
  return { all, repeated };
}

function readConstraints(
  e: Extension | undefined,
): { ca: boolean; pathLength: number | undefined } | undefined {
  if (!e) return { ca: false, pathLength: undefined };
  const parts = elements(elementAt(e.value, 0)?.content ?? new Uint8Array([0]));
  if (!parts) return undefined;
  const ca = parts[0]?.tag === tags.boolean && parts[0].content[0] !== 0;
  const length = parts.find((p) => p.tag === tags.integer);
  return { ca, pathLength: length && Number.parseInt(hexText(length.content) || '0', 16) };
}

function readUsage(e: Extension | undefined): CertificateFacts['keyUsage'] {
  if (!e) return undefined;
  const bits = elementAt(e.value, 0);
  const first = bits?.tag === tags.bitString ? (bits.content[1] ?? 0) : 0;
  return {
    critical: e.critical,
    digitalSignature: (first & 0x80) !== 0,
    keyCertSign: (first & 0x04) !== 0,
    crlSign: (first & 0x02) !== 0,
  };
}

function readExtendedUsage(e: Extension | undefined): string[] | undefined {
  if (!e) return undefined;
  const list = elementAt(e.value, 0);
  return ((list && elements(list.content)) ?? []).map((o) => oidText(o.content));
}

function readNames(e: Extension | undefined): CertificateFacts['names'] | 'bad' {
  if (!e) return undefined;
  const list = elementAt(e.value, 0);
  const names = list && elements(list.content);
  if (!names) return 'bad';
  const uris = names.filter((n) => n.tag === 0x86).map((n) => latin1(n.content));
  return { critical: e.critical, uris, others: names.length - uris.length };
}
