// Which ports of a wildcard host a waypoint serves: those where a request or a hello says the name that is meant
// (waypoint-l7.md 11).
import type { EntryPortFacts, ServiceEntryFacts } from '../cluster/index.ts';
import type { MeshSettings } from './settings.ts';

type Settings = Pick<MeshSettings, 'wildcardTls'>;

/** HTTP names it in each request. In TLS a caller may name one server and mean another, so that must be asked for. */
export const isWildcardPort = (
  { protocol }: Pick<EntryPortFacts, 'protocol'>,
  m: Settings,
): boolean => protocol === 'HTTP' || (protocol === 'TLS' && m.wildcardTls === true);

/** Ports that are not served, with the reason. */
export function unservedPorts(e: ServiceEntryFacts, m: Settings): string[] {
  if (!e.dynamic || !e.hosts.some((h) => h.startsWith('*'))) return [];
  return e.ports
    .filter((p) => !isWildcardPort(p, m))
    .map((p) =>
      p.protocol === 'TLS'
        ? `port ${p.number}: TLS of wildcard hosts needs ENABLE_WILDCARD_HOST_SERVICE_ENTRIES_FOR_TLS`
        : `port ${p.number}: protocol of a wildcard host must be HTTP or TLS`,
    );
}
