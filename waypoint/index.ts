// Door of the waypoint.
export { startWaypoint, type Waypoint, type WaypointDeps } from './app.ts';
export { readConfig, type WaypointConfig } from './config.ts';
export { ServiceConfigs } from './l7/config-state.ts';
export { declareMetrics } from './metrics.ts';
