// Revocation lists as a plain look-up by issuer and serial (S18). Node's own `crl` option demands a list
// for every issuer and honours its expiry; Istio wants neither. Read here (RFC 5280 section 5.1): a library that
// loses the entries of a list without `nextUpdate` would revoke nobody.
import { type Element, elementAt, elements, hexText, tags, timeMs } from './der.ts';
import type { Revocations } from './peer.ts';

export type { Revocations } from './peer.ts';

const begin = '-----BEGIN X509 CRL-----';
const end = '-----END X509 CRL-----';
/** Beyond any list that a proxy should hold. */
const mostEntries = 2_000_000;

/** All lists of a PEM text, or one in DER. Throws if any cannot be read, so that the old ones are kept. */
export function loadRevocations(bytes: Uint8Array): Revocations {
  const text = Buffer.from(bytes).toString('latin1');
  const lists = text.includes(begin) ? blocks(text).map(readList) : [readList(bytes)];
  const all = new Map<string, Set<string>>();
  for (const { issuer, serials } of lists) {
    const known = all.get(issuer) ?? new Set();
    for (const s of serials) known.add(s);
    all.set(issuer, known);
  }
  return all;
}

function blocks(text: string): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const stop = text.indexOf(end, at);
    if (stop < 0) throw new Error('a revocation list is cut off');
    out.push(Buffer.from(text.slice(at + begin.length, stop), 'base64'));
    at = stop + end.length;
  }
  return out;
}

/** Issuer name (DER, hex) and the serials (hex, no leading zeros) of one list. */
function readList(der: Uint8Array): { issuer: string; serials: string[] } {
  const outer = elementAt(der, 0);
  if (outer?.tag !== tags.sequence || outer.whole.length !== der.length) return wrong();
  const [tbs] = elements(outer.content) ?? [];
  const fields = tbs?.tag === tags.sequence ? elements(tbs.content) : undefined;
  if (!fields) return wrong();
  if (fields[0]?.tag === tags.integer) fields.shift();
  const [algorithm, issuer, thisUpdate, ...rest] = fields;
  if (algorithm?.tag !== tags.sequence || issuer?.tag !== tags.sequence) return wrong();
  if (!isTime(thisUpdate)) return wrong();
  if (isTime(rest[0])) rest.shift();
  // Without entries the field is absent.
  const entries = rest[0]?.tag === tags.sequence ? elements(rest[0].content, mostEntries) : [];
  if (!entries) return wrong();
  return { issuer: hexText(issuer.whole), serials: entries.map(readSerial) };
}

const isTime = (e: Element | undefined): boolean => e !== undefined && timeMs(e) !== undefined;

function readSerial(entry: Element): string {
  const [serial, date] = (entry.tag === tags.sequence && elements(entry.content)) || [];
  if (serial?.tag !== tags.integer || serial.content.length === 0 || !isTime(date)) return wrong();
  return trimZeros(hexText(serial.content));
}

function wrong(): never {
  throw new Error('this is no revocation list');
}

function trimZeros(hex: string): string {
  let at = 0;
  while (at < hex.length - 2 && hex.startsWith('00', at)) at += 2;
  return hex.slice(at);
}
