// A small reader of DER, enough for certificates: definite lengths only, every length checked against
// what is really there. Node's own parser hides key usage and criticality (design.md 8).

export interface Element {
  /** Identifier octet: class, constructed bit and tag number below 31. */
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The element at `offset`, or `undefined` if it is cut off or not DER. */
export function elementAt(bytes: Uint8Array, offset: number): Element | undefined {
  const tag = bytes[offset];
  let length = bytes[offset + 1];
  if (tag === undefined || length === undefined || (tag & 0x1f) === 0x1f) return undefined;
  let at = offset + 2;
  if (length >= 0x80) {
    const count = length & 0x7f;
    if (count === 0 || count > 4) return undefined;
    length = 0;
    for (let i = 0; i < count; i++) {
      const byte = bytes[at++];
      if (byte === undefined || (i === 0 && byte === 0)) return undefined;
      length = length * 256 + byte;
    }
    if (length < 0x80) return undefined;
  }
  if (at + length > bytes.length) return undefined;
  return {
    tag,
    content: bytes.subarray(at, at + length),
    whole: bytes.subarray(offset, at + length),
  };
}

/** All elements of a constructed value; `undefined` if any is malformed or bytes are left over. */
export function elements(content: Uint8Array, limit = 20_000): Element[] | undefined {
  const out: Element[] = [];
  for (let at = 0; at < content.length; ) {
    const e = elementAt(content, at);
    if (!e || out.length >= limit) return undefined;
    out.push(e);
    at += e.whole.length;
  }
  return out;
}

export function oidText(content: Uint8Array): string {
  const first = content[0] ?? 0;
  const parts = first < 80 ? [Math.floor(first / 40), first % 40] : [2, first - 80];
  let value = 0;
  for (const byte of content.subarray(1)) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
    }
  }
  return parts.join('.');
}

export function hexText(bytes: Uint8Array): string {
  let out = '';
  for (const b of bytes) out += (b < 16 ? '0' : '') + b.toString(16);
  return out;
}

/** One character per byte, so that a NUL or a byte ≥ 0x80 stays visible (S16). */
export function latin1(bytes: Uint8Array): string {
  let out = '';
  for (const b of bytes) out += String.fromCharCode(b);
  return out;
}

/** Milliseconds of a UTCTime or GeneralizedTime in the form DER allows (`Z`, seconds, no fraction). */
export function timeMs(e: Element): number | undefined {
  const text = latin1(e.content);
  if (!text.endsWith('Z')) return undefined;
  const long = e.tag === tags.generalizedTime;
  if (text.length !== (long ? 15 : 13) || (!long && e.tag !== tags.utcTime)) return undefined;
  for (const c of text.slice(0, -1)) if (c < '0' || c > '9') return undefined;
  const two = Number(text.slice(0, 2));
  const year = long ? Number(text.slice(0, 4)) : two + (two < 50 ? 2000 : 1900);
  const rest = text.slice(long ? 4 : 2);
  const part = (i: number): number => Number(rest.slice(2 * i, 2 * i + 2));
  return Date.UTC(year, part(0) - 1, part(1), part(2), part(3), part(4));
}
