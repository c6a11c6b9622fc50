// prom-client behind plain functions: one registry per component, names declared once, bounded series.
import client from 'prom-client';
import { droppedLines } from './output.ts';

import { CounterSeries, HistogramSeries } from './series.ts';
import { uncaughtFaults } from './uncaught.ts';

export type Labels = Readonly<Record<string, string>>;

/** A labels object is read once: who counts the same again gives the same object, and never changes it. */
export interface Counter {
  add(labels: Labels, by?: number): void;
}
export interface Gauge {
  set(labels: Labels, value: number): void;
  add(labels: Labels, by: number): void;
}
export interface Histogram {
  observe(labels: Labels, value: number): void;
}

export interface MetricSpec {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly buckets?: readonly number[];
}

export interface DeclaredMetric extends MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram';
}

export interface Metrics {
  counter(spec: MetricSpec): Counter;
  gauge(spec: MetricSpec): Gauge;
  histogram(spec: MetricSpec): Histogram;
  /** The exposition text and its content type. */
  render(accept: string | undefined): Promise<{ type: string; body: string }>;
  /** Everything declared so far, in order: the source of docs/reference/metrics.md. */
  declared(): readonly DeclaredMetric[];
  /** Current value of one series, for tests and summaries; 0 if it does not exist. */
  value(name: string, labels: Labels): Promise<number>;
}

// Seconds, as prom-client's own.
const defaultBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createMetrics(): Metrics {
  const registry = new client.Registry();
  const known: DeclaredMetric[] = [];
  const declare = (type: DeclaredMetric['type'], spec: MetricSpec): void => {
    known.push({ ...spec, type });
  };
  // The registry asks its metrics for nothing but their names and values.
  const register = <S extends CounterSeries | HistogramSeries>(series: S): S => {
    registry.registerMetric(series as unknown as client.Metric<string>);
    return series;
  };
  /** A counter of what is counted for the whole process. */
  const follow = (spec: MetricSpec, total: () => number): (() => void) => {
    declare('counter', spec);
    const series = register(new CounterSeries(spec));
    let counted = 0;
    return () => {
      series.add({}, total() - counted);
      counted = total();
    };
  };
  const followed = [
    follow(
      { name: 'ambient_log_lines_dropped_total', help: 'Log lines that nobody read' },
      droppedLines,
    ),
    follow(
      {
        name: 'ambient_uncaught_faults_total',
        help: 'Faults of ours that only the last resort caught; each has a line in the log',
      },
      uncaughtFaults,
    ),
  ];
  return {
    counter(spec) {
      declare('counter', spec);
      return register(new CounterSeries(spec));
    },
    // Their labels are our own words, never a peer's: nobody can make them many.
    gauge(spec) {
      declare('gauge', spec);
      const { name, help } = spec;
      const labelNames = [...(spec.labels ?? [])];
      const g = new client.Gauge({ name, help, labelNames, registers: [registry] });
      return {
        set: (labels, value) => g.set({ ...labels }, value),
        add: (labels, by) => g.inc({ ...labels }, by),
      };
    },
    histogram(spec) {
      declare('histogram', spec);
      return register(new HistogramSeries(spec, defaultBuckets));
    },
    async render(accept) {
      const open = accept?.includes('application/openmetrics-text') ?? false;
      for (const count of followed) count();
      const body = await registry.metrics();
      return {
        type: open
          ? 'application/openmetrics-text;charset=utf-8;version=1.0.0'
          : 'text/plain; charset=utf-8',
        body: open ? `${body}# EOF\n` : body,
      };
    },
    declared: () => known,
    async value(name, labels) {
      const metric = await registry.getSingleMetric(name)?.get();
      const hit = metric?.values.find((v) =>
        Object.entries(labels).every(([k, text]) => v.labels[k] === text),
      );
      return hit?.value ?? 0;
    },
  };
}
