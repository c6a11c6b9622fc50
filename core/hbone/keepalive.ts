// PING on both ends (ztunnel-protocol.md 2.6): every 10 s, and a connection whose answer is 20 s late is
// dead. One timer per connection, none per stream.
import type { Clock } from '../base/index.ts';
import type { H2Session } from './h2/index.ts';
import type { HboneLimits } from './limits.ts';

/** Calls `dead` once if the peer stops answering. Returns how to stop. */
export function keepAlive(
  session: H2Session,
  limits: HboneLimits,
  clock: Clock,
  dead: () => void,
): () => void {
  let waitingSince: number | undefined;
  let timer = clock.after(limits.pingEveryMs, tick);
  function tick(): void {
    if (session.over) return;
    if (waitingSince !== undefined && clock.monotonic() - waitingSince >= limits.pingLimitMs) {
      dead();
      return;
    }
    if (waitingSince === undefined) {
      const sent = session.ping(() => {
        waitingSince = undefined;
      });
      if (sent) waitingSince = clock.monotonic();
    }
    timer = clock.after(limits.pingEveryMs, tick);
  }
  return () => timer.cancel();
}
