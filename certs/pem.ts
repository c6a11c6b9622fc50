// PEM blocks ↔ DER. Bounded: a bundle is cut off at a megabyte, far above any real one.
const maxBytes = 1 << 20;
const begin = '-----BEGIN CERTIFICATE-----';
const end = '-----END CERTIFICATE-----';

/** Every CERTIFICATE block of a PEM text as its own PEM; other blocks and text between are skipped. */
export function pemBlocks(text: string): string[] {
  if (text.length > maxBytes) return [];
  const out: string[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const stop = text.indexOf(end, at);
    if (stop < 0) break;
    out.push(`${text.slice(at, stop + end.length)}\n`);
    at = stop + end.length;
  }
  return out;
}

/** DER of one PEM block. */
export function pemToDer(pem: string): Uint8Array {
  const at = pem.indexOf(begin);
  const stop = pem.indexOf(end);
  if (at < 0 || stop < at) return new Uint8Array();
  return Buffer.from(pem.slice(at + begin.length, stop), 'base64');
}

/** PEM of a DER certificate, lines of `width` characters. */
export function derToPem(der: Uint8Array, width = 64): string {
  const text = Buffer.from(der).toString('base64');
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += width) lines.push(text.slice(at, at + width));
  return `${begin}\n${lines.join('\n')}\n${end}\n`;
}
