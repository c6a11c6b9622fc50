// Door of core/base: values and helpers that depend on nothing.
export { type BackoffPlan, backoffDelay } from './backoff.ts';
export type { Brand } from './brand.ts';
export { Cancellation } from './cancellation.ts';
export { type Cidr, cidrContains, makeCidr, parseCidr, printCidr } from './cidr.ts';
export { type Clock, FakeClock, type Timer } from './clock.ts';
export { type DebouncePlan, type DebounceState, debounceEvent, debounceWait } from './debounce.ts';
export { type FaultCode, type FaultRow, type FaultSide, faults } from './fault-table.ts';
export {
  type FaultDetail,
  fromUnknown,
  MeshError,
  parseReason,
  printable,
  printReason,
} from './fault.ts';
export {
  type Authority,
  type IpPort,
  parseAuthority,
  parseIpPort,
  parsePort,
  printAuthority,
  printIpPort,
} from './host-port.ts';
export { formatIp, type IpAddress, isIpv6, isLoopback, parseIp, parseIpBytes } from './ip.ts';
export { PairCache } from './pair-cache.ts';
export * as proxyHeader from './proxy-header.ts';
export { type Log, type LogFields, silentLog } from './log.ts';
export { type Random, seededRandom, weightedPick } from './random.ts';
export { type LinearRegex, linearRegex } from './regex.ts';
export { type RegexRewrite, regexRewrite } from './regex-rewrite.ts';
export { bad, type Fault, ok, printFaults, type Result } from './result.ts';
export * as shape from './shape.ts';
export { newTraceparent, traceIdOf } from './trace-context.ts';
