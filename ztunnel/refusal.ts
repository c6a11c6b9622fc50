// What an application sees when it is refused: a connection that is reset (design.md 8 "Refusal"). Not before
// its first bytes are there, or a tenth of a second has passed: a reset that overtakes the application's own
// connect looks like a closed port (curl: 7), not like a refusal (curl: 56).
import type { Duplex } from 'node:stream';
import type { Clock } from '../core/base/index.ts';
import { resetStream } from '../core/hbone/index.ts';

const patienceMs = 100;

export function refuseApp(clock: Clock, socket: Duplex): void {
  if (socket.destroyed) return;
  if (socket.readableLength > 0) return resetStream(socket);
  const now = (): void => {
    timer.cancel();
    socket.off('readable', now);
    resetStream(socket);
  };
  const timer = clock.after(patienceMs, now);
  socket.once('close', () => timer.cancel());
  socket.on('readable', now);
}
