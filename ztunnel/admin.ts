// What ztunnel tells of itself at its admin port (ztunnel-protocol.md 13.1), and our evidence under /ambient.
import {
  type OpsAnswer,
  opsJson,
  type OpsRequest,
  opsText,
  type ProxyOps,
  type ProxyOpsServers,
  serveProxyOps,
} from '../core/runtime/index.ts';
import type { ConnectionRecord } from './records.ts';
import { type ProbeAnswer, type ProbeRequest, readProbe } from './probe.ts';

export interface AdminSources extends Omit<ProxyOps, 'listen' | 'admin'> {
  readonly dump: () => unknown;
  readonly byTrace: (trace: string) => readonly ConnectionRecord[];
  readonly recent: () => readonly ConnectionRecord[];
  readonly live: () => readonly ConnectionRecord[];
  readonly probe: (request: ProbeRequest) => Promise<ProbeAnswer>;
}

/** Rejects when a port cannot be bound; the error names it. */
export function startAdmin(listen: ProxyOps['listen'], s: AdminSources): Promise<ProxyOpsServers> {
  return serveProxyOps({
    ...s,
    listen,
    admin: [
      ['* /', () => ({ status: 200, type: 'text/html; charset=utf-8', body: index })],
      ['* /config_dump', () => opsJson(s.dump())],
      ['GET /ambient/connections', (r) => connections(s, r)],
      ['POST /ambient/probe', (r) => runProbe(s, r)],
    ],
  });
}

const index = `<!doctype html><title>ztunnel</title><ul>
<li><a href="/config_dump">/config_dump</a>
<li><a href="/ambient/connections?recent">/ambient/connections?recent</a>
<li>POST /logging?level=L, POST /logging?reset, POST /quitquitquit, POST /ambient/probe</ul>\n`;

function connections(s: AdminSources, { query }: OpsRequest): OpsAnswer {
  const trace = query.get('trace');
  if (trace !== null) return opsJson(s.byTrace(trace));
  if (query.has('recent')) return opsJson(s.recent());
  if (query.has('live')) return opsJson(s.live());
  return opsText(400, 'usage: /ambient/connections?trace=ID, ?recent or ?live\n');
}

async function runProbe(s: AdminSources, { body }: OpsRequest): Promise<OpsAnswer> {
  const request = readProbe(body);
  if (typeof request === 'string') return opsText(400, `${request}\n`);
  return opsJson(await s.probe(request));
}
