// Upgraded connections: exec, attach and port-forward.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ApiContext } from './context.ts';

export async function serveUpgrade(
  _api: ApiContext,
  _request: IncomingMessage,
  socket: Duplex,
  _head: Buffer,
): Promise<void> {
  socket.on('error', () => {});
  socket.end('HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  await Promise.resolve();
}
