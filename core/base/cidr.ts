// CIDR blocks over the bytes of ip.ts.
import { formatIp, isMapped, parseIpBytes } from './ip.ts';

export interface Cidr {
  /** 4 or 16 bytes, host bits cleared. */
  readonly bytes: Uint8Array;
  readonly bits: number;
}

/**
 * `undefined` if the address length is not 4 or 16 or the prefix does not fit it. A v4-mapped block is the
 * IPv4 block, as addresses are; one whose prefix cuts into the mapping is neither and gives `undefined`.
 */
export function makeCidr(address: Uint8Array, bits: number): Cidr | undefined {
  if (address.length !== 4 && address.length !== 16) return undefined;
  if (!Number.isInteger(bits) || bits < 0 || bits > address.length * 8) return undefined;
  if (isMapped(address)) {
    return bits < 96 ? undefined : makeCidr(address.subarray(12), bits - 96);
  }
  // A copy: `slice` of a Buffer would be a view, and the caller's bytes would be masked.
  const bytes = Uint8Array.from(address);
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, bits - 8 * i));
    bytes[i] = (bytes[i] ?? 0) & (0xff00 >> keep) & 0xff;
  }
  return { bytes, bits };
}

/** `10.0.0.0/8`, or a lone address as a host block. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  const host = slash < 0 ? text : text.slice(0, slash);
  const address = parseIpBytes(host);
  if (!address) return undefined;
  if (slash < 0) return makeCidr(address, address.length * 8);
  const length = text.slice(slash + 1);
  if (length === '' || length.length > 3) return undefined;
  for (const c of length) if (c < '0' || c > '9') return undefined;
  // A prefix written on a v4-mapped address counts from the start of the IPv6 one.
  const mapped = address.length === 4 && host.includes(':');
  return makeCidr(address, Number(length) - (mapped ? 96 : 0));
}

export function cidrContains(cidr: Cidr, address: Uint8Array): boolean {
  if (address.length !== cidr.bytes.length) return false;
  const whole = cidr.bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== cidr.bytes[i]) return false;
  const rest = cidr.bits & 7;
  if (rest === 0) return true;
  const mask = (0xff00 >> rest) & 0xff;
  return ((address[whole] ?? 0) & mask) === cidr.bytes[whole];
}

export function printCidr(cidr: Cidr): string {
  return `${formatIp(cidr.bytes) ?? ''}/${cidr.bits}`;
}
