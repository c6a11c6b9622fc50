// Door of core/hbone: CONNECT tunnels over streams that are already secured.
export {
  type Connected,
  type HboneClient,
  type HboneClientOptions,
  openHbone,
} from './client.ts';
export {
  type Baggage,
  buildConnect,
  buildRefusal,
  type ConnectHeaders,
  type Headers,
  headerText,
  parseBaggage,
  parseForwardedHost,
  printBaggage,
  printForwarded,
  reasonHeader,
} from './headers.ts';
export { defaultLimits, type HboneLimits } from './limits.ts';
export { type Dialled, Pool, type PoolAnswer, type PoolOptions } from './pool.ts';
export { defaultPoolLimits, type PoolLimits } from './pool-state.ts';
export {
  type Pump,
  type PumpCounts,
  type PumpEnd,
  policyResetCode,
  pump,
  resetStream,
} from './pump.ts';
export { type HboneServer, type HboneServerOptions, type Incoming, serveHbone } from './server.ts';
