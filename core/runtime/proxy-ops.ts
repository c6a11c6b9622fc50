// The three small HTTP servers of every proxy: admin (15000), metrics (15020), readiness (15021), as Istio's tools
// expect them (ztunnel-protocol.md 13.1). What a proxy tells of itself are its own admin routes.
import type { Metrics, RootLog } from '../telemetry/index.ts';
import {
  type OpsAnswer,
  type OpsHandler,
  type OpsRequest,
  type OpsServer,
  serveOps,
} from './ops-server.ts';
import type { Readiness } from './readiness.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

export interface ProxyOps {
  readonly listen: {
    readonly admin: Address;
    readonly stats: Address;
    readonly readiness: Address;
  };
  readonly log: RootLog;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  /** Before each scrape, for counters that are added up elsewhere. */
  readonly beforeScrape?: () => void;
  readonly quit: () => void;
  /** Beside `/logging` and `/quitquitquit`; served to this machine alone. */
  readonly admin: Iterable<readonly [string, OpsHandler]>;
}

export interface ProxyOpsServers {
  readonly admin: OpsServer;
  readonly stats: OpsServer;
  readonly readiness: OpsServer;
  stop(): Promise<void>;
}

export const opsJson = (value: unknown): OpsAnswer => ({
  status: 200,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
});
export const opsText = (status: number, body: string): OpsAnswer => ({ status, body });

/** All three or none; rejects when a port cannot be bound, with an error that names it. */
export async function serveProxyOps(options: ProxyOps): Promise<ProxyOpsServers> {
  const log = options.log.child('admin');
  const started: OpsServer[] = [];
  const serve = async (at: Address, routes: ReadonlyMap<string, OpsHandler>, local: boolean) => {
    const server = await serveOps({ ...at, routes, local, log });
    started.push(server);
    return server;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const { listen } = options;
  try {
    const admin = await serve(listen.admin, adminRoutes(options), true);
    const stats = await serve(listen.stats, statsRoutes(options), false);
    const readiness = await serve(listen.readiness, readinessRoutes(options), false);
    return { admin, stats, readiness, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function adminRoutes({ log, quit, admin }: ProxyOps): ReadonlyMap<string, OpsHandler> {
  return new Map<string, OpsHandler>([
    ['POST /logging', (r) => logging(log, r)],
    [
      'POST /quitquitquit',
      () => {
        setImmediate(quit);
        return opsText(200, 'shutdown now\n');
      },
    ],
    ...admin,
  ]);
}

function statsRoutes({ metrics, beforeScrape }: ProxyOps): ReadonlyMap<string, OpsHandler> {
  const scrape: OpsHandler = async (request) => {
    beforeScrape?.();
    const { type, body } = await metrics.render(request.headers.accept);
    return { status: 200, type, body };
  };
  return new Map([
    ['* /metrics', scrape],
    ['* /stats/prometheus', scrape],
  ]);
}

function readinessRoutes({ readiness }: ProxyOps): ReadonlyMap<string, OpsHandler> {
  const ready: OpsHandler = () =>
    readiness.ready
      ? opsText(200, 'ready\n')
      : opsText(500, `not ready, pending: ${readiness.pending.join(', ')}\n`);
  return new Map([['GET /healthz/ready', ready]]);
}

function logging(log: RootLog, { query }: OpsRequest): OpsAnswer {
  const level = query.get('level');
  if (query.has('reset')) log.resetLevels();
  if (level !== null && !log.setLevels(level)) {
    return opsText(400, 'usage: POST /logging?level=<level|scope=level,…>, POST /logging?reset\n');
  }
  return opsText(200, `current log level is ${log.levels()}\n`);
}
