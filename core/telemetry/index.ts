// Door of core/telemetry: logs and metrics. Labels arrive here as plain strings.
export { type LogLevel, logLevels } from './levels.ts';
export { createLog, type LogOptions, type RootLog } from './log.ts';
export {
  type Counter,
  createMetrics,
  type DeclaredMetric,
  type Gauge,
  type Histogram,
  type Labels,
  type Metrics,
  type MetricSpec,
} from './metrics.ts';
export { noteUncaught } from './uncaught.ts';
