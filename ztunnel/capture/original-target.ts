// Recovers where a redirected connection wanted to go. One function per means of redirection; `addressed`
// mode has the PROXY v2 header, written before the application's first byte.
import type { Socket } from 'node:net';
import { type Clock, type IpPort, MeshError, proxyHeader } from '../../core/base/index.ts';

const headerLimitMs = 5_000;

/** Reads exactly the header; what follows stays in the socket. Rejects with NO_ORIGINAL_TARGET. */
export async function targetFromHeader(socket: Socket, clock: Clock): Promise<IpPort> {
  const start = proxyHeader.readStart(await take(socket, proxyHeader.fixedBytes, clock));
  if (!start.ok) throw new MeshError('NO_ORIGINAL_TARGET', { detail: start.detail });
  const rest = await take(socket, start.restBytes, clock);
  const target = proxyHeader.readTarget(rest, start.family);
  if (!target) throw new MeshError('NO_ORIGINAL_TARGET', { detail: 'broken address or TLV' });
  return target;
}

/** Exactly `count` bytes, waiting at most 5 s. */
export function take(socket: Socket, count: number, clock: Clock): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const finish = (work: () => void): void => {
      timer.cancel();
      socket.off('readable', look);
      socket.off('end', ended);
      socket.off('close', ended);
      work();
    };
    const lack = (detail: string): void =>
      finish(() => reject(new MeshError('NO_ORIGINAL_TARGET', { detail })));
    const ended = (): void => lack('the connection ended inside its PROXY header');
    const look = (): void => {
      const bytes = socket.read(count) as Buffer | null;
      if (bytes === null) return;
      if (bytes.length < count) ended();
      else finish(() => resolve(bytes));
    };
    const timer = clock.after(headerLimitMs, () => lack('no PROXY header within 5 s'));
    socket.on('readable', look);
    socket.on('end', ended);
    socket.on('close', ended);
    if (socket.destroyed) ended();
    else look();
  });
}
