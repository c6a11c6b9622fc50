// What the packets on a pod's links show while one connection is made: TLS records, or something that could be
// read. Pure.
import { formatIp, type IpPort } from '../core/base/index.ts';

export interface PacketFacts {
  /** Packets with a payload between the two ends, either direction. */
  readonly packets: number;
  /** Those that begin with a TLS record (RFC 8446 5.1). */
  readonly tls: number;
  /** Connections to the peer that were opened meanwhile and did not begin with a TLS handshake. */
  readonly plain: number;
  /** The marked text was in some packet of the pod as it is, wherever that went. */
  readonly readable: boolean;
}

interface Segment {
  /** Towards the peer. */
  readonly out: boolean;
  /** The pod's end: port, which tells connections to one peer apart. */
  readonly local: number;
  readonly sequence: number;
  /** Opens a connection. */
  readonly syn: boolean;
  readonly payload: Uint8Array;
}

const protocolTcp = 6;
const synFlag = 0x02;
const ackFlag = 0x10;
const handshake = 0x16;

/** `packets` from the IP header on; of TCP only those from or to `peer` count. */
export function judgePackets(
  packets: readonly Uint8Array[],
  peer: IpPort,
  mark: string,
): PacketFacts {
  const segments = packets.flatMap((p) => segmentOf(p, peer) ?? []);
  const payloads = segments.map((s) => s.payload).filter((p) => p.length > 0);
  return {
    packets: payloads.length,
    tls: payloads.filter((p) => startsRecord(p)).length,
    plain: plainConnections(segments),
    readable: packets.some((p) => Buffer.from(p).includes(mark)),
  };
}

/**
 * Only connections seen from their first packet, for in the middle of one a packet may begin with any byte; and only
 * their first bytes, which TLS makes a handshake record.
 */
function plainConnections(segments: readonly Segment[]): number {
  const first = new Map<number, number>();
  const plain = new Set<number>();
  for (const { out, local, sequence, syn, payload } of segments) {
    if (!out) continue;
    if (syn) first.set(local, (sequence + 1) >>> 0);
    else if (payload.length > 0 && first.get(local) === sequence) {
      if (payload[0] !== handshake || !startsRecord(payload)) plain.add(local);
    }
  }
  return plain.size;
}

const u16 = (b: Uint8Array, at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0);
const u32 = (b: Uint8Array, at: number): number => ((u16(b, at) << 16) | u16(b, at + 2)) >>> 0;

/** Change of cipher, alert, handshake or data, in the record layer's version; a piece of one tells what it has. */
const startsRecord = ([type = 0, version = 3]: Uint8Array): boolean =>
  type >= 0x14 && type <= 0x17 && version === 3;

function segmentOf(packet: Uint8Array, peer: IpPort): Segment | undefined {
  const six = (packet[0] ?? 0) >> 4 === 6;
  const head = six ? 40 : 4 * ((packet[0] ?? 0) & 15);
  if (packet.length < head + 20 || packet[six ? 6 : 9] !== protocolTcp) return undefined;
  const [from, to] = six
    ? [packet.subarray(8, 24), packet.subarray(24, 40)]
    : [packet.subarray(12, 16), packet.subarray(16, 20)];
  const is = (address: Uint8Array, port: number): boolean =>
    port === peer.port && formatIp(address) === peer.ip;
  const [source, target] = [u16(packet, head), u16(packet, head + 2)];
  const out = is(to, target);
  if (!out && !is(from, source)) return undefined;
  const start = head + 4 * ((packet[head + 12] ?? 0) >> 4);
  const end = six ? head + u16(packet, 4) : u16(packet, 2);
  return {
    out,
    local: out ? source : target,
    sequence: u32(packet, head + 4),
    syn: ((packet[head + 13] ?? 0) & (synFlag | ackFlag)) === synFlag,
    payload: packet.subarray(start, Math.max(start, end)),
  };
}
