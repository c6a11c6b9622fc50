// PROXY protocol. Version 2 carries the original destination of a captured connection in `addressed` mode; the source
// inside is then ignored: who calls is known from the listener (sandbox.md D2, checklist N6). Both versions tell an
// application who called, where a DestinationRule asks for it (waypoint-l7.md 5.3).
import type { IpPort } from './host-port.ts';
import { formatIp, isIpv6, parseIpBytes } from './ip.ts';

const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/** Signature, version, family, length. */
export const fixedBytes = 16;
/** Addresses and TLVs; far above what any sender of ours writes. */
const maxRest = 512;

export type HeaderStart =
  | { readonly ok: true; readonly restBytes: number; readonly family: 4 | 6 }
  | { readonly ok: false; readonly detail: string };

/** The first 16 bytes. */
export function readStart(bytes: Uint8Array): HeaderStart {
  const bad = (detail: string): HeaderStart => ({ ok: false, detail });
  if (bytes.length < fixedBytes) return bad('the PROXY header is cut off');
  if (!signature.every((b, i) => bytes[i] === b)) return bad('no PROXY v2 signature');
  if (bytes[12] !== 0x21) return bad('not version 2 with command PROXY');
  const family = bytes[13];
  if (family !== 0x11 && family !== 0x21) return bad('not TCP over IPv4 or IPv6');
  const restBytes = ((bytes[14] ?? 0) << 8) | (bytes[15] ?? 0);
  if (restBytes > maxRest) return bad('the PROXY header is too long');
  if (restBytes < (family === 0x11 ? 12 : 36)) return bad('the addresses are cut off');
  return { ok: true, restBytes, family: family === 0x11 ? 4 : 6 };
}

/** What follows the first 16 bytes: addresses, then TLVs whose lengths must add up. */
export function readTarget(rest: Uint8Array, family: 4 | 6): IpPort | undefined {
  const size = family === 4 ? 4 : 16;
  const ip = formatIp(rest.subarray(size, 2 * size));
  const at = 2 * size + 2;
  const port = ((rest[at] ?? 0) << 8) | (rest[at + 1] ?? 0);
  if (!ip || port === 0 || !tlvsAddUp(rest.subarray(2 * size + 4))) return undefined;
  return { ip, port };
}

function tlvsAddUp(bytes: Uint8Array): boolean {
  let at = 0;
  while (at < bytes.length) {
    if (at + 3 > bytes.length) return false;
    at += 3 + (((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0));
  }
  return at === bytes.length;
}

/** Version 1: one line of text. */
export function printV1(source: IpPort, target: IpPort): Uint8Array {
  const v6 = isIpv6(source.ip);
  const line =
    v6 === isIpv6(target.ip)
      ? `${v6 ? 'TCP6' : 'TCP4'} ${source.ip} ${target.ip} ${source.port} ${target.port}`
      : 'UNKNOWN';
  return new TextEncoder().encode(`PROXY ${line}\r\n`);
}

/** Version 2; `identity` becomes TLV 0xD0 (ztunnel-protocol.md 2.8). */
export function printV2(source: IpPort, target: IpPort, identity?: string): Uint8Array {
  const from = parseIpBytes(source.ip) ?? new Uint8Array(4);
  const to = parseIpBytes(target.ip) ?? new Uint8Array(4);
  const name = new TextEncoder().encode(identity ?? '');
  const tlv = identity === undefined ? [] : [0xd0, name.length >> 8, name.length & 255, ...name];
  const same = from.length === to.length;
  const ends = [source.port, target.port].flatMap((p) => [p >> 8, p & 255]);
  const addresses = same ? [...from, ...to, ...ends] : [];
  const family = same ? (from.length === 4 ? 0x11 : 0x21) : 0x01;
  const length = addresses.length + tlv.length;
  return new Uint8Array([
    ...signature,
    0x21,
    family,
    length >> 8,
    length & 255,
    ...addresses,
    ...tlv,
  ]);
}
