// Counters and histograms whose series are found by the labels object itself. prom-client sorts and joins all labels at
// each step; with Istio's 27 of them that was a tenth of a request. It keeps the registry and the text format.
import type client from 'prom-client';
import type { Labels, MetricSpec } from './metrics.ts';

// A hostile peer must not be able to grow a metric without end (checklist L22): past this many label
// sets everything further goes into one series whose labels all read `overflow`.
const maxSeries = 20_000;

/** The series of one metric. A labels object that has been seen must not be changed afterwards. */
class SeriesMap<V> {
  readonly #names: readonly string[];
  readonly #make: (labels: Labels) => V;
  readonly #byObject = new WeakMap<Labels, V>();
  readonly #byKey = new Map<string, V>();

  constructor(names: readonly string[], make: (labels: Labels) => V) {
    this.#names = names;
    this.#make = make;
  }

  of(labels: Labels): V {
    const known = this.#byObject.get(labels);
    if (known !== undefined) return known;
    const series = this.#find(labels);
    this.#byObject.set(labels, series);
    return series;
  }

  all(): Iterable<V> {
    return this.#byKey.values();
  }

  #find(labels: Labels): V {
    const key = this.#names.map((n) => labels[n] ?? '').join('\u0001');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const unknown = Object.keys(labels).find((n) => !this.#names.includes(n));
    if (unknown !== undefined) throw new TypeError(`label ${unknown} was not declared`);
    if (this.#byKey.size >= maxSeries && !Object.values(labels).every((v) => v === 'overflow')) {
      return this.#find(Object.fromEntries(this.#names.map((n) => [n, 'overflow'])));
    }
    const own = Object.fromEntries(Object.entries(labels).filter(([, v]) => v !== undefined));
    const series = this.#make(own);
    this.#byKey.set(key, series);
    return series;
  }
}

/** What the registry reads: prom-client's shape of a metric. */
type Value = client.MetricValueWithName<string> & { readonly sharedLabels?: Labels };

interface Shown {
  readonly help: string;
  readonly name: string;
  readonly type: string;
  readonly aggregator: string;
  readonly values: Value[];
}

/** Values that do not go down. Throws TypeError for labels that were not declared, RangeError for a step below 0. */
export class CounterSeries {
  readonly name: string;
  readonly #help: string;
  readonly #series: SeriesMap<{ readonly labels: Labels; value: number }>;

  constructor(spec: MetricSpec) {
    this.name = spec.name;
    this.#help = spec.help;
    this.#series = new SeriesMap(spec.labels ?? [], (labels) => ({ labels, value: 0 }));
    // A counter without labels is there from the start.
    if ((spec.labels ?? []).length === 0) this.#series.of({});
  }

  add(labels: Labels, by = 1): void {
    if (!(by >= 0)) throw new RangeError(`${this.name} cannot go down by ${by}`);
    this.#series.of(labels).value += by;
  }

  get(): Promise<Shown> {
    const values = [...this.#series.all()].map(({ labels, value }) => ({
      labels,
      value,
      metricName: this.name,
    }));
    const { name } = this;
    return Promise.resolve({ name, help: this.#help, type: 'counter', aggregator: 'sum', values });
  }
}

interface Observed {
  readonly labels: Labels;
  /** One for each bound, not summed up; above the last one, only `count` knows. */
  readonly buckets: number[];
  sum: number;
  count: number;
}

/** Cumulative buckets. Throws TypeError for labels that were not declared and for what is no number. */
export class HistogramSeries {
  readonly name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #series: SeriesMap<Observed>;

  constructor(spec: MetricSpec, defaultBuckets: readonly number[]) {
    this.name = spec.name;
    this.#help = spec.help;
    this.#bounds = spec.buckets ?? defaultBuckets;
    const make = (labels: Labels): Observed => {
      return { labels, buckets: this.#bounds.map(() => 0), sum: 0, count: 0 };
    };
    this.#series = new SeriesMap(spec.labels ?? [], make);
    if ((spec.labels ?? []).length === 0) this.#series.of({});
  }

  observe(labels: Labels, value: number): void {
    if (!Number.isFinite(value)) throw new TypeError(`${this.name} cannot observe ${value}`);
    const series = this.#series.of(labels);
    series.sum += value;
    series.count += 1;
    const bounds = this.#bounds;
    for (let i = 0; i < bounds.length; i++) {
      if (value <= (bounds[i] ?? 0)) {
        series.buckets[i] = (series.buckets[i] ?? 0) + 1;
        return;
      }
    }
  }

  /** With whole labels on every value. */
  async get(): Promise<Shown> {
    const shown = await this.getForPromString();
    const values = shown.values.map(({ sharedLabels, labels, ...v }) => ({
      ...v,
      labels: { ...labels, ...sharedLabels },
    }));
    return { ...shown, values };
  }

  /** With the labels of a series once, as the registry's text wants them. */
  getForPromString(): Promise<Shown> {
    const values = [...this.#series.all()].flatMap((s) => this.#values(s));
    const { name } = this;
    const type = 'histogram';
    return Promise.resolve({ name, help: this.#help, type, aggregator: 'sum', values });
  }

  #values({ labels, buckets, sum, count }: Observed): Value[] {
    let below = 0;
    const metricName = `${this.name}_bucket`;
    const values: Value[] = this.#bounds.map((le, i) => {
      below += buckets[i] ?? 0;
      return { labels: { le }, sharedLabels: labels, value: below, metricName };
    });
    values.push(
      { labels: { le: '+Inf' }, sharedLabels: labels, value: count, metricName },
      { labels: {}, sharedLabels: labels, value: sum, metricName: `${this.name}_sum` },
      { labels: {}, sharedLabels: labels, value: count, metricName: `${this.name}_count` },
    );
    return values;
  }
}
