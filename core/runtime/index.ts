// Door of core/runtime: time, chance, environment, readiness, small HTTP servers, process life.
export { EnvReader, type EnvVariable, parseDuration } from './env.ts';
export { declareHeadroom, Headroom, type HeadroomMetrics } from './headroom.ts';
export type { Usage } from './headroom-plan.ts';
export { type Running, runUntilSignal } from './lifecycle.ts';
export { parseSync, readSync, type SyncState, waitForSync } from './mesh-sync.ts';
export {
  isLocalRequest,
  type OpsAnswer,
  type OpsHandler,
  type OpsOptions,
  type OpsRequest,
  type OpsServer,
  serveOps,
} from './ops-server.ts';
export {
  opsJson,
  opsText,
  type ProxyOps,
  type ProxyOpsServers,
  serveProxyOps,
} from './proxy-ops.ts';
export { Readiness } from './readiness.ts';
export {
  dial,
  type DialOptions,
  type Keepalive,
  listen,
  type Listener,
  remoteOf,
} from './sockets.ts';
export { systemClock, systemRandom } from './system.ts';
export { packageVersion } from './version.ts';
