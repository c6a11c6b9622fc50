// What captured packets of one connection show: TLS records, or something that could be read. Pure.
import { formatIp, type IpPort } from '../core/base/index.ts';

export interface PacketFacts {
  /** Packets with a payload between the two ends, either direction. */
  readonly packets: number;
  /** Those that begin with a TLS record (RFC 8446 5.1). */
  readonly tls: number;
  /** The marked text was in one of them as it is. */
  readonly readable: boolean;
}

const protocolTcp = 6;

/** `packets` from the IP header on; only those from or to `peer` count. */
export function judgePackets(
  packets: readonly Uint8Array[],
  peer: IpPort,
  mark: string,
): PacketFacts {
  const payloads = packets.flatMap((p) => payloadWith(p, peer) ?? []);
  return {
    packets: payloads.length,
    tls: payloads.filter((p) => startsRecord(p)).length,
    readable: payloads.some((p) => Buffer.from(p).includes(mark)),
  };
}

const u16 = (b: Uint8Array, at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0);

/** Change of cipher, alert, handshake or data, in the record layer's version. */
const startsRecord = ([type = 0, version = 0]: Uint8Array): boolean =>
  type >= 0x14 && type <= 0x17 && version === 3;

function payloadWith(packet: Uint8Array, peer: IpPort): Uint8Array | undefined {
  const six = (packet[0] ?? 0) >> 4 === 6;
  const head = six ? 40 : 4 * ((packet[0] ?? 0) & 15);
  if (packet.length < head + 20 || packet[six ? 6 : 9] !== protocolTcp) return undefined;
  const [from, to] = six
    ? [packet.subarray(8, 24), packet.subarray(24, 40)]
    : [packet.subarray(12, 16), packet.subarray(16, 20)];
  const is = (address: Uint8Array, port: number): boolean =>
    port === peer.port && formatIp(address) === peer.ip;
  if (!is(from, u16(packet, head)) && !is(to, u16(packet, head + 2))) return undefined;
  const start = head + 4 * ((packet[head + 12] ?? 0) >> 4);
  const end = six ? head + u16(packet, 4) : u16(packet, 2);
  return end > start ? packet.subarray(start, end) : undefined;
}
