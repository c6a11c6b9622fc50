// The cluster's name server, on the hub: what kube-dns is to a real one. It knows the cluster's names and no
// others, and asks nobody: nothing leaves the sandbox.
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import type { Clock, IpAddress } from '../../core/base/index.ts';
import {
  answerLimit,
  type DnsProtocol,
  rcodes,
  readQuery,
  refuseQuery,
  serveTcp,
  serveUdp,
  writeAnswer,
} from '../../core/dns/index.ts';
import { listenInside, type NamespaceFd, udpInside } from '../../core/linux/index.ts';
import { type ClusterNames, lookUp } from './names-plan.ts';

const port = 53;

export class ClusterDns {
  names: ClusterNames = new Map();
  readonly #udp: UdpSocket;
  readonly #tcp: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(udp: UdpSocket, tcp: net.Server) {
    this.#udp = udp;
    this.#tcp = tcp;
  }

  /** Listens inside the namespace; rejects if it cannot. */
  static async start(ns: NamespaceFd, ip: IpAddress, clock: Clock): Promise<ClusterDns> {
    const at = { ip, port };
    const how = { mark: 0, reusePort: false } as const;
    const udp = udpInside(ns, { at, ...how });
    const tcp = net.createServer({ allowHalfOpen: true });
    tcp.listen({ fd: listenInside(ns, { at, ...how, backlog: 128, transparent: 'no' }).fd });
    await once(tcp, 'listening');
    const dns = new ClusterDns(udp, tcp);
    const answer = (message: Uint8Array, { protocol }: { protocol: DnsProtocol }) =>
      Promise.resolve(dns.#answer(message, protocol));
    serveUdp(udp, answer);
    tcp.on('connection', (socket) => {
      dns.#sockets.add(socket);
      socket.once('close', () => dns.#sockets.delete(socket));
      serveTcp(socket, clock, answer);
    });
    return dns;
  }

  stop(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #answer(message: Uint8Array, protocol: DnsProtocol): Uint8Array | undefined {
    const read = readQuery(message);
    if (read.kind === 'ignore') return undefined;
    if (read.kind === 'other') return refuseQuery(message, rcodes.NOTIMP);
    if (read.kind === 'malformed') return refuseQuery(message, rcodes.FORMERR);
    const { query } = read;
    const found = query.class === 1 ? lookUp(this.names, query.name, query.type) : undefined;
    return writeAnswer(
      query,
      {
        rcode: found ? rcodes.NOERROR : rcodes.NXDOMAIN,
        authoritative: true,
        recursion: true,
        answers: found ?? [],
        additional: [],
      },
      answerLimit(query, protocol),
    );
  }
}
