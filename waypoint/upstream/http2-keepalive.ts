// PING on an HTTP/2 connection to an application, where a DestinationRule asks for it (waypoint-l7.md 5.3).
import type { ClientHttp2Session } from 'node:http2';
import type { Clock } from '../../core/base/index.ts';
import type { ConnectionRules } from '../l7/connection-rules.ts';

/** Ends the session, with all that runs on it, when an answer is late. Stops with the session. */
export function keepAlive(
  session: ClientHttp2Session,
  { everyMs, limitMs }: NonNullable<ConnectionRules['ping']>,
  clock: Clock,
): void {
  let timer = clock.after(everyMs, ask);
  function ask(): void {
    if (session.destroyed || session.closed) return;
    timer = clock.after(limitMs, () => session.destroy(new Error('no answer to PING')));
    session.ping(() => {
      timer.cancel();
      if (!session.destroyed) timer = clock.after(everyMs, ask);
    });
  }
  session.once('close', () => timer.cancel());
}
