// TCPRoute and TLSRoute: one rule, weighted backends, chosen per connection (waypoint-l7.md 3.11).
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, list } from '../cluster/index.ts';
import { readBackend } from './backends.ts';
import type { World } from './binding.ts';
import type { RouteFacts } from './objects.ts';

export function tcpRoute(world: World, route: RouteFacts): Draft<wire.L7TcpRoute> {
  const backends = list(field(route.rules[0], 'backendRefs')).map((b) =>
    readBackend(world, route, b, []),
  );
  return { name: `${route.namespace}/${route.name}`, backends };
}

/** For the server names of the route alone. */
export function tlsRoute(world: World, route: RouteFacts): Draft<wire.L7TcpRoute> {
  return { ...tcpRoute(world, route), hostnames: [...route.hostnames] };
}
