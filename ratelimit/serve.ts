// A server of shared rate limits: envoy.service.ratelimit.v3 over a store. Limits come with the question, so it needs no
// configuration of its own. Plaintext: it is a service of the mesh, and the mesh brings the mutual TLS.
import type { Clock, Log } from '../core/base/index.ts';
import { RpcError, type RpcServer, rpcStatus, serveRpc } from '../core/rpc/index.ts';
import type { Store } from './store.ts';
import { answerFor, countsFor } from './window-plan.ts';

export interface RateLimitServerOptions {
  readonly host: string;
  readonly port: number;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

/** Rejects when the port cannot be bound. */
export function startRateLimitServer(o: RateLimitServerOptions): Promise<RpcServer> {
  const { store, clock, log } = o;
  return serveRpc({
    host: o.host,
    port: o.port,
    handlers: {
      unary: {
        async shouldRateLimit(request) {
          const now = clock.now();
          const counts = countsFor(request, now).filter((c) => c !== undefined);
          const counted = await store.add(counts).catch((error: unknown) => {
            log.debug('no count', { error });
            throw new RpcError(rpcStatus.unavailable, 'the store cannot be used');
          });
          return answerFor(request, counted, now);
        },
      },
      bidi: {},
    },
    log,
  });
}
