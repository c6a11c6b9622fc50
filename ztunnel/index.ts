// Door of ztunnel: the node proxy.
export { startZtunnel, type Ztunnel, type ZtunnelDeps } from './app.ts';
export { readConfig, type ZtunnelConfig } from './config.ts';
export type { Feed } from './context.ts';
export { declareMetrics } from './metrics.ts';
export { type EgressMode, egressModes, type OutboundPlan, planOutbound } from './outbound/plan.ts';
export type { ProbeAnswer, ProbeRequest } from './probe.ts';
export type { ConnectionRecord } from './records.ts';
export { PodSource } from './pods/pod-source.ts';
export type { PodRequest } from './pods/pod-state.ts';
