// Copies of a request: each goes to one endpoint of its backend; nobody waits for them, nobody hears of their failures
// (waypoint-l7.md 3.4).
import { Cancellation } from '../../core/base/index.ts';
import type { WaypointContext } from '../context.ts';
import type { RequestBody } from '../upstream/body.ts';
import { pickTarget } from '../upstream/pick.ts';
import type { Exchange } from './exchange.ts';
import { protocolOf, type Way } from './way.ts';

const limitMs = 30_000;

export function mirror(ctx: WaypointContext, x: Exchange, way: Way, body: RequestBody): void {
  for (const { backend, share } of x.rule?.mirrors ?? []) {
    if (backend.invalid !== false || x.head.upgrade !== undefined) continue;
    if (ctx.random.next() >= share) continue;
    const { cluster } = backend;
    const endpoint = pickTarget(ctx, cluster, { tried: new Set() });
    if (!endpoint) continue;
    const limit = new Cancellation();
    const timer = ctx.clock.after(limitMs, () => limit.abort(new Error('mirror')));
    ctx.upstreams
      .attempt({
        endpoint,
        cluster,
        breaker: ctx.clusters.breaker(cluster),
        protocol: protocolOf(backend.protocol, x.upstream, cluster),
        head: way.head,
        body: body.copy(),
        trailers: () => [],
        client: x.connection.source,
        target: x.connection.target,
        serviceHost: x.connection.service.hostname,
        traceparent: x.connection.traceparent,
        stop: limit,
        inform: () => {},
      })
      .then(
        (a) => {
          a.body.on('error', () => {});
          a.body.once('close', () => timer.cancel());
          a.body.resume();
        },
        () => timer.cancel(),
      );
  }
}
