// Services that configuration names by host: authorizers, counters of requests.
import { serviceHostname } from '../translate/index.ts';
import type { World } from './binding.ts';

/** `service` is `namespace/hostname` or a hostname; the port must be one of its. */
export function located(
  world: World,
  service: string,
  port: number,
): { readonly namespace: string; readonly hostname: string } | undefined {
  const cut = service.indexOf('/');
  const namespace = cut < 0 ? undefined : service.slice(0, cut);
  const host = service.slice(cut + 1).toLowerCase();
  const here = (n: string): boolean => namespace === undefined || namespace === n;
  for (const s of world.cluster.services.all()) {
    const hostname = serviceHostname(s, world.settings);
    if (hostname === host && here(s.namespace) && s.ports.some((p) => p.port === port))
      return { namespace: s.namespace, hostname };
  }
  for (const e of world.cluster.serviceEntries.all()) {
    if (e.hosts.includes(host) && here(e.namespace))
      return { namespace: e.namespace, hostname: host };
  }
  return undefined;
}
