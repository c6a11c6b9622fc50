// prom-client behind plain functions: one registry per component, names declared once, bounded series.
import client from 'prom-client';

export type Labels = Readonly<Record<string, string>>;

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

// A hostile peer must not be able to grow a metric without end (checklist L22): past this many label
// sets everything further goes into one series whose labels all read `overflow`.
const maxSeries = 20_000;

class SeriesGuard {
  readonly #seen = new Set<string>();
  readonly #names: readonly string[];
  constructor(names: readonly string[]) {
    this.#names = names;
  }
  labels(labels: Labels): Labels {
    const key = this.#names.map((n) => labels[n] ?? '').join('\u0001');
    if (this.#seen.has(key)) return labels;
    if (this.#seen.size < maxSeries) {
      this.#seen.add(key);
      return labels;
    }
    return Object.fromEntries(this.#names.map((n) => [n, 'overflow']));
  }
}

export function createMetrics(): Metrics {
  const registry = new client.Registry();
  const known: DeclaredMetric[] = [];
  const common = (
    type: DeclaredMetric['type'],
    spec: MetricSpec,
  ): { name: string; help: string; labelNames: string[]; registers: client.Registry[] } => {
    known.push({ ...spec, type });
    const labelNames = [...(spec.labels ?? [])];
    return { name: spec.name, help: spec.help, labelNames, registers: [registry] };
  };
  return {
    counter(spec) {
      const c = new client.Counter(common('counter', spec));
      const guard = new SeriesGuard(spec.labels ?? []);
      return { add: (labels, by = 1) => c.inc({ ...guard.labels(labels) }, by) };
    },
    gauge(spec) {
      const g = new client.Gauge(common('gauge', spec));
      const guard = new SeriesGuard(spec.labels ?? []);
      return {
        set: (labels, value) => g.set({ ...guard.labels(labels) }, value),
        add: (labels, by) => g.inc({ ...guard.labels(labels) }, by),
      };
    },
    histogram(spec) {
      const h = new client.Histogram({
        ...common('histogram', spec),
        ...(spec.buckets && { buckets: [...spec.buckets] }),
      });
      const guard = new SeriesGuard(spec.labels ?? []);
      return { observe: (labels, value) => h.observe({ ...guard.labels(labels) }, value) };
    },
    async render(accept) {
      const open = accept?.includes('application/openmetrics-text') ?? false;
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
