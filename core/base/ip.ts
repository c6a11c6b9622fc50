// IP addresses as canonical text: dotted IPv4, RFC 5952 IPv6, v4-mapped IPv6 folded to IPv4.
// Canonical text is the key of every address map, so two spellings never make two entries.
import type { Brand } from './brand.ts';

export type IpAddress = Brand<string, 'IpAddress'>;

function parseV4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i] ?? '';
    if (part.length === 0 || part.length > 3) return undefined;
    if (part.length > 1 && part.startsWith('0')) return undefined;
    let value = 0;
    for (const c of part) {
      if (c < '0' || c > '9') return undefined;
      value = value * 10 + (c.charCodeAt(0) - 48);
    }
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

function parseGroups(text: string, allowV4Tail: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (part.includes('.')) {
      const v4 = allowV4Tail && i === parts.length - 1 ? parseV4(part) : undefined;
      if (!v4) return undefined;
      groups.push(((v4[0] ?? 0) << 8) | (v4[1] ?? 0), ((v4[2] ?? 0) << 8) | (v4[3] ?? 0));
      continue;
    }
    if (part.length === 0 || part.length > 4) return undefined;
    let value = 0;
    for (const c of part) {
      const digit = '0123456789abcdef'.indexOf(c.toLowerCase());
      if (digit < 0) return undefined;
      value = value * 16 + digit;
    }
    groups.push(value);
  }
  return groups;
}

function parseV6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const compressed = halves.length === 2;
  const head = parseGroups(halves[0] ?? '', !compressed);
  const tail = compressed ? parseGroups(halves[1] ?? '', true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (compressed ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: Math.max(0, missing) }, () => 0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, g] of groups.entries()) {
    bytes[2 * i] = g >> 8;
    bytes[2 * i + 1] = g & 255;
  }
  return bytes;
}

/** ::ffff:a.b.c.d: an IPv4 address in IPv6 clothing. */
export const isMapped = (b: Uint8Array): boolean =>
  b.length === 16 && b[10] === 255 && b[11] === 255 && b.subarray(0, 10).every((x) => x === 0);

/** Text to 4 or 16 bytes, network order; zone ids, leading zeros and garbage give `undefined`. */
export function parseIpBytes(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined;
  const bytes = text.includes(':') ? parseV6(text) : parseV4(text);
  if (bytes && isMapped(bytes)) return bytes.slice(12);
  return bytes;
}

function formatV6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0));
  let best = { at: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > best.length) best = { at: i, length };
    if (length > 0) i += length - 1;
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((g) => g.toString(16))
      .join(':');
  return best.at < 0 ? text(0, 8) : `${text(0, best.at)}::${text(best.at + best.length, 8)}`;
}

/** 4 or 16 bytes to canonical text; any other length gives `undefined`. */
export function formatIp(bytes: Uint8Array): IpAddress | undefined {
  const b = isMapped(bytes) ? bytes.subarray(12) : bytes;
  if (b.length === 4) return b.join('.') as IpAddress;
  if (b.length === 16) return formatV6(b) as IpAddress;
  return undefined;
}

/** Canonical text of an address, or `undefined` if it is none. */
export function parseIp(text: string): IpAddress | undefined {
  const bytes = parseIpBytes(text);
  return bytes && formatIp(bytes);
}

export const isIpv6 = (ip: IpAddress): boolean => ip.includes(':');

/** 127.0.0.0/8 or ::1. */
export const isLoopback = (ip: IpAddress): boolean => ip.startsWith('127.') || ip === '::1';
