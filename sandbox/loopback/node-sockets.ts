// Connections that the node makes to pods of driver loopback: from 127.0.0.1, never captured.
import net from 'node:net';
import type { Duplex } from 'node:stream';

const connectMs = 5_000;

export const nodeSocket = (host: string, port: number): net.Socket =>
  net.connect({ host, port, localAddress: '127.0.0.1', allowHalfOpen: true });

/** As `kubectl port-forward` makes it; rejects if nobody answers in 5 s. */
export function nodeDial(host: string, port: number): Promise<Duplex> {
  return new Promise((done, fail) => {
    const socket = nodeSocket(host, port);
    socket.setTimeout(connectMs, () => socket.destroy(new Error('it does not answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.on('error', () => {});
      done(socket);
    });
  });
}
