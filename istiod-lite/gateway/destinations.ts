// Everything that routes lead to, where a DestinationRule says how.
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { World } from './binding.ts';
import { clusterFor, type Destination } from './destination-rules.ts';

export function backendsOf(
  tables: readonly (Draft<wire.L7RouteTable> | null | undefined)[],
): Draft<wire.L7RouteBackend>[] {
  return tables.flatMap((t) =>
    (t?.rules ?? []).flatMap((r) => [
      ...(r.backends ?? []),
      ...(r.filters?.mirrors ?? []).flatMap((m) => (m.backend ? [m.backend] : [])),
    ]),
  );
}

/** `client` is the namespace of the proxy. */
export function clustersOf(
  world: World,
  all: readonly Draft<wire.L7RouteBackend>[],
  client: string,
): Draft<wire.L7Cluster>[] {
  const seen = new Map<string, Destination>();
  for (const d of all) {
    if (d.invalid || d.noCluster) continue;
    const { namespace = '', hostname = '', port = 0, subset = '' } = d;
    seen.set(`${namespace}/${hostname}|${port}|${subset}`, { namespace, hostname, port, subset });
  }
  return [...seen.values()].map((d) => clusterFor(world, d, client)).filter((c) => c !== undefined);
}
