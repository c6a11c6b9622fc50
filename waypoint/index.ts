// Door of the waypoint.
export { startWaypoint, type Waypoint, type WaypointDeps } from './app.ts';
export { readConfig, type WaypointConfig } from './config.ts';
export type { AccessFacts } from './l7/access.ts';
export { type AccessAnswer, actionName, judgeAccess } from './l7/judge.ts';
export { ServiceConfigs } from './l7/config-state.ts';
export { declareMetrics } from './metrics.ts';
