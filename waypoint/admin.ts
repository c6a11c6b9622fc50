// The three small HTTP servers of a waypoint: admin (15000), metrics (15020), readiness (15021).
import {
  type OpsAnswer,
  type OpsHandler,
  type OpsRequest,
  type OpsServer,
  type Readiness,
  serveOps,
} from '../core/runtime/index.ts';
import type { Metrics, RootLog } from '../core/telemetry/index.ts';
import type { Listen } from './config.ts';
import { type ProbeAnswer, type ProbeRequest, readProbe } from './probe.ts';
import type { WaypointRecord } from './report.ts';

export interface AdminSources {
  readonly log: RootLog;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  readonly dump: () => unknown;
  readonly byTrace: (trace: string) => readonly WaypointRecord[];
  readonly recent: () => readonly WaypointRecord[];
  readonly probe: (request: ProbeRequest) => Promise<ProbeAnswer>;
  readonly quit: () => void;
}

export interface AdminServers {
  readonly admin: OpsServer;
  readonly stats: OpsServer;
  readonly readiness: OpsServer;
  stop(): Promise<void>;
}

const json = (value: unknown): OpsAnswer => ({
  status: 200,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
});
const text = (status: number, body: string): OpsAnswer => ({ status, body });

export async function startAdmin(
  listen: { readonly admin: Listen; readonly stats: Listen; readonly readiness: Listen },
  s: AdminSources,
): Promise<AdminServers> {
  const log = s.log.child('admin');
  const started: OpsServer[] = [];
  const serve = async (at: Listen, routes: ReadonlyMap<string, OpsHandler>, local: boolean) => {
    const server = await serveOps({ ...at, routes, local, log });
    started.push(server);
    return server;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  try {
    const admin = await serve(listen.admin, adminRoutes(s), true);
    const stats = await serve(listen.stats, statsRoutes(s), false);
    const readiness = await serve(listen.readiness, readinessRoutes(s), false);
    return { admin, stats, readiness, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function adminRoutes(s: AdminSources): ReadonlyMap<string, OpsHandler> {
  return new Map<string, OpsHandler>([
    ['* /config_dump', () => json(s.dump())],
    ['POST /logging', (r) => logging(s.log, r)],
    [
      'POST /quitquitquit',
      () => {
        setImmediate(s.quit);
        return text(200, 'shutdown now\n');
      },
    ],
    ['GET /ambient/connections', (r) => connections(s, r)],
    ['POST /ambient/probe', (r) => runProbe(s, r)],
  ]);
}

function statsRoutes(s: AdminSources): ReadonlyMap<string, OpsHandler> {
  const scrape: OpsHandler = async (request) => {
    const { type, body } = await s.metrics.render(request.headers.accept);
    return { status: 200, type, body };
  };
  return new Map([
    ['* /metrics', scrape],
    ['* /stats/prometheus', scrape],
  ]);
}

function readinessRoutes(s: AdminSources): ReadonlyMap<string, OpsHandler> {
  const ready: OpsHandler = () =>
    s.readiness.ready
      ? text(200, 'ready\n')
      : text(500, `not ready, pending: ${s.readiness.pending.join(', ')}\n`);
  return new Map([['GET /healthz/ready', ready]]);
}

function logging(log: RootLog, { query }: OpsRequest): OpsAnswer {
  const level = query.get('level');
  if (query.has('reset')) log.resetLevels();
  if (level !== null && !log.setLevels(level)) {
    return text(400, 'usage: POST /logging?level=<level|scope=level,…>, POST /logging?reset\n');
  }
  return text(200, `current log level is ${log.levels()}\n`);
}

function connections(s: AdminSources, { query }: OpsRequest): OpsAnswer {
  const trace = query.get('trace');
  if (trace !== null) return json(s.byTrace(trace));
  if (query.has('recent')) return json(s.recent());
  return text(400, 'usage: /ambient/connections?trace=ID or ?recent\n');
}

async function runProbe(s: AdminSources, { body }: OpsRequest): Promise<OpsAnswer> {
  const request = readProbe(body);
  if (typeof request === 'string') return text(400, `${request}\n`);
  return json(await s.probe(request));
}
