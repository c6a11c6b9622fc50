// What a waypoint tells of itself at its admin port.
import {
  type OpsAnswer,
  opsJson,
  type OpsRequest,
  opsText,
  type ProxyOps,
  type ProxyOpsServers,
  serveProxyOps,
} from '../core/runtime/index.ts';
import { type ProbeAnswer, type ProbeRequest, readProbe } from './probe.ts';
import type { WaypointRecord } from './report.ts';

export interface AdminSources extends Omit<ProxyOps, 'listen' | 'admin'> {
  readonly dump: () => unknown;
  readonly byTrace: (trace: string) => readonly WaypointRecord[];
  readonly recent: () => readonly WaypointRecord[];
  readonly probe: (request: ProbeRequest) => Promise<ProbeAnswer>;
}

/** Rejects when a port cannot be bound; the error names it. */
export function startAdmin(listen: ProxyOps['listen'], s: AdminSources): Promise<ProxyOpsServers> {
  return serveProxyOps({
    ...s,
    listen,
    admin: [
      ['* /config_dump', () => opsJson(s.dump())],
      ['GET /ambient/connections', (r) => connections(s, r)],
      ['POST /ambient/probe', (r) => runProbe(s, r)],
    ],
  });
}

function connections(s: AdminSources, { query }: OpsRequest): OpsAnswer {
  const trace = query.get('trace');
  if (trace !== null) return opsJson(s.byTrace(trace));
  if (query.has('recent')) return opsJson(s.recent());
  return opsText(400, 'usage: /ambient/connections?trace=ID or ?recent\n');
}

async function runProbe(s: AdminSources, { body }: OpsRequest): Promise<OpsAnswer> {
  const request = readProbe(body);
  if (typeof request === 'string') return opsText(400, `${request}\n`);
  return opsJson(await s.probe(request));
}
