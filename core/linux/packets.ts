// Looks at the packets of an interface (AF_PACKET), to show what is on the wire. Needs CAP_NET_RAW.
import fs from 'node:fs';
import { libc } from './calls.ts';
import { inNamespace, type NamespaceFd, systemError } from './netns.ts';
import { AF_PACKET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from './numbers.ts';

const ETH_P_ALL = 3;
const htons = (n: number): number => ((n & 0xff) << 8) | (n >> 8);
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;

export interface PacketTap {
  /** Packets (from the IP header on) that came since the last call, at most 10,000. */
  take(): Buffer[];
  close(): void;
}

/** `index` as in `/sys/class/net/NAME/ifindex` or `ip link`. */
export function openPacketTap(ns: NamespaceFd, index: number): PacketTap {
  const fd = inNamespace(ns, () => {
    const made = libc().socket(
      AF_PACKET,
      SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
      htons(ETH_P_ALL),
    );
    if (made < 0) throw systemError('socket', -made);
    const address = Buffer.alloc(20); // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(index, 4);
    const bound = libc().bind(made, address);
    if (bound >= 0) return made;
    libc().close(made);
    throw systemError('bind', -bound);
  });
  const room = Buffer.alloc(4);
  room.writeInt32LE(8 << 20);
  libc().setsockopt(fd, SOL_SOCKET, SO_RCVBUF, room);
  const one = Buffer.alloc(65_536);
  return {
    take() {
      const out: Buffer[] = [];
      while (out.length < 10_000) {
        const got = libc().recv(fd, one, 0);
        if (got < 0) break;
        out.push(Buffer.from(one.subarray(0, got)));
      }
      return out;
    },
    close: () => fs.closeSync(fd),
  };
}
