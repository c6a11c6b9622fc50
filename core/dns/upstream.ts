// Asks name servers: each try from a port and with an id of its own (RFC 5452), the first answer that
// belongs to the question counts, all tries within the limits of resolv.conf.
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import type { Clock, IpPort, Random } from '../base/index.ts';
import { DnsFrames, frameDns } from './frames.ts';
import { idOf, readAnswer, withId } from './message.ts';
import type { ResolvConf } from './resolv-conf.ts';
import type { DnsProtocol } from './server.ts';

export interface UpstreamSockets {
  /** A socket on a port of the kernel's choice, fit to reach `to`. The caller closes it. */
  udp(to: IpPort): UdpSocket;
  tcp(to: IpPort, timeoutMs: number): Promise<Socket>;
}

export interface UpstreamOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly sockets: UpstreamSockets;
}

/** The answer with the query's id; rejects when no server gave one in time. */
export async function askUpstream(
  query: Uint8Array,
  protocol: DnsProtocol,
  conf: ResolvConf,
  options: UpstreamOptions,
): Promise<Uint8Array> {
  if (conf.servers.length === 0) throw new Error('resolv.conf names no server');
  let failure: unknown;
  for (let attempt = 0; attempt < conf.attempts; attempt++) {
    for (const server of conf.servers) {
      try {
        const sent = withId(query, Math.floor(options.random.next() * 0x10000));
        const ask = protocol === 'udp' ? askUdp : askTcp;
        return withId(await ask(sent, server, conf.timeoutMs, options), idOf(query));
      } catch (error) {
        failure = error;
      }
    }
  }
  throw failure;
}

function askUdp(
  sent: Uint8Array,
  server: IpPort,
  timeoutMs: number,
  { clock, sockets }: UpstreamOptions,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = sockets.udp(server);
    const settle = (work: () => void): void => {
      timer.cancel();
      socket.removeAllListeners('message');
      try {
        socket.close();
      } catch {
        // Closed already.
      }
      work();
    };
    const failed = (error: Error): void => settle(() => reject(error));
    const timer = clock.after(timeoutMs, () =>
      failed(new Error('the name server does not answer')),
    );
    socket.on('error', failed);
    socket.once('close', () => failed(new Error('the socket was closed')));
    socket.on('message', (message) => {
      // What does not belong to the question is somebody's attempt: it is passed over, not believed.
      if (readAnswer(message, sent)) settle(() => resolve(message));
    });
    const send = (): void => socket.send(sent, (error) => void (error && failed(error)));
    // A connected socket takes packets from the server alone, and learns that its port is closed.
    socket.once('connect', send);
    socket.connect(server.port, server.ip);
  });
}

async function askTcp(
  sent: Uint8Array,
  server: IpPort,
  timeoutMs: number,
  { clock, sockets }: UpstreamOptions,
): Promise<Uint8Array> {
  const socket = await sockets.tcp(server, timeoutMs);
  return new Promise((resolve, reject) => {
    const frames = new DnsFrames();
    const settle = (work: () => void): void => {
      timer.cancel();
      socket.destroy();
      work();
    };
    const failed = (error: Error): void => settle(() => reject(error));
    const timer = clock.after(timeoutMs, () =>
      failed(new Error('the name server does not answer')),
    );
    socket.on('error', failed);
    socket.once('close', () => failed(new Error('the name server closed the connection')));
    socket.on('data', (chunk: Buffer) => {
      const found = frames.push(chunk).find((message) => readAnswer(message, sent));
      if (found) settle(() => resolve(found));
    });
    socket.write(frameDns(sent));
  });
}
