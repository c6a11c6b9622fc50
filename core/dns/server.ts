// Serves DNS on sockets that others made: whole messages in, answers out, with bounds on what a client can
// cost. A message that gets no answer is dropped, as a lost packet would be.
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { type Clock, type IpPort, parseIp, type Timer } from '../base/index.ts';
import { DnsFrames, frameDns } from './frames.ts';
import { rcodes, refuseQuery } from './message.ts';

export type DnsProtocol = 'udp' | 'tcp';

/** Must not reject; `undefined` = no answer. */
export type AnswerDns = (
  message: Uint8Array,
  how: { readonly protocol: DnsProtocol; readonly from: IpPort },
) => Promise<Uint8Array | undefined>;

const mostUdp = 512;
const mostTcp = 16;
const idleMs = 5_000;

/** A UDP socket that is served. */
export interface ServedUdp {
  /** Messages so far. */
  readonly heard: number;
  /** Resolves when nothing is in work. */
  answered(): Promise<void>;
}

/** Messages beyond 512 in work are refused (SERVFAIL), so that no flood grows the memory. */
export function serveUdp(socket: UdpSocket, answer: AnswerDns): ServedUdp {
  let busy = 0;
  let heard = 0;
  let idle: (() => void)[] = [];
  socket.on('error', () => {});
  socket.on('message', (message, { address, port }) => {
    heard++;
    const ip = parseIp(address);
    if (!ip) return;
    const send = (bytes: Uint8Array | undefined): void => {
      try {
        if (bytes) socket.send(bytes, port, address, () => {});
      } catch {
        // Closed meanwhile.
      }
    };
    if (busy >= mostUdp) {
      if (message.length >= 12 && ((message[2] ?? 0) & 0x80) === 0)
        send(refuseQuery(message, rcodes.SERVFAIL));
      return;
    }
    busy++;
    void answer(message, { protocol: 'udp', from: { ip, port } })
      .then(send)
      .finally(() => {
        if (--busy > 0) return;
        for (const tell of idle) tell();
        idle = [];
      });
  });
  return {
    get heard() {
      return heard;
    },
    answered: () =>
      busy === 0 ? Promise.resolve() : new Promise((resolve) => void idle.push(resolve)),
  };
}

/** One accepted connection: pipelined questions, answers in any order; closed after 5 s of silence. */
export function serveTcp(socket: Socket, clock: Clock, answer: AnswerDns): void {
  const frames = new DnsFrames();
  const ip = parseIp(socket.remoteAddress ?? '');
  if (!ip) {
    socket.destroy();
    return;
  }
  const from: IpPort = { ip, port: socket.remotePort ?? 0 };
  let busy = 0;
  let idle: Timer | undefined;
  const watch = (): void => {
    idle?.cancel();
    idle = clock.after(idleMs, () => {
      if (busy === 0) socket.destroy();
    });
  };
  const take = (message: Uint8Array): void => {
    busy++;
    if (busy >= mostTcp) socket.pause();
    void answer(message, { protocol: 'tcp', from })
      .then((bytes) => {
        if (bytes && socket.writable) socket.write(frameDns(bytes));
      })
      .finally(() => {
        busy--;
        if (busy === 0 && socket.readableEnded) socket.end();
        socket.resume();
        watch();
      });
  };
  watch();
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    watch();
    for (const message of frames.push(chunk)) take(message);
  });
  socket.on('end', () => {
    if (busy === 0) socket.end();
  });
  socket.once('close', () => idle?.cancel());
  socket.resume();
}
