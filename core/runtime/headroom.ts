// What this process has left, so that a proxy refuses new connections before it fails those it has (F26, F27), and
// how late its event loop runs (F28).
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import type { Clock, Log, Timer } from '../base/index.ts';
import type { Gauge, Histogram, Metrics } from '../telemetry/index.ts';
import { type Shortage, shortageOf, shortages, type Usage, type Use } from './headroom-plan.ts';

/** Looked at again after so many questions or so much time: each connection costs two descriptors at most. */
const mostAsked = 32;
const mostAgeMs = 250;
/** A loop that stood still for longer is seen by as much less. */
const beatMs = 250;

const noLabels = {};

export interface HeadroomMetrics {
  readonly overloaded: Gauge;
  readonly loopDelay: Histogram;
}

export function declareHeadroom(metrics: Metrics): HeadroomMetrics {
  return {
    overloaded: metrics.gauge({
      name: 'ambient_overloaded',
      help: '1 while new connections are refused for want of it',
      labels: ['resource'],
    }),
    loopDelay: metrics.histogram({
      name: 'ambient_event_loop_delay_seconds',
      help: 'How late a timer of the event loop came, four times a second',
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 5],
    }),
  };
}

export interface HeadroomOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: HeadroomMetrics;
  /** Default: this process's. */
  readonly usage?: () => Usage;
}

export class Headroom {
  readonly #o: HeadroomOptions;
  readonly #usage: () => Usage;
  #asked = 0;
  #lookedAt: number;
  #short: Shortage | undefined;
  #refused = 0;
  #beat: Timer;

  constructor(options: HeadroomOptions) {
    this.#o = options;
    this.#usage = options.usage ?? processUsage();
    this.#lookedAt = options.clock.monotonic();
    this.#beat = this.#next();
    this.observe();
  }

  /** Asked for each new connection: what there is too little of for it; it is then refused. */
  shortage(): Shortage | undefined {
    const age = this.#o.clock.monotonic() - this.#lookedAt;
    if (++this.#asked >= mostAsked || age >= mostAgeMs) this.#look();
    if (this.#short !== undefined) this.#refused++;
    return this.#short;
  }

  /** Before each scrape. */
  observe(): void {
    this.#look();
    const { overloaded } = this.#o.metrics;
    for (const what of shortages) overloaded.set({ resource: what }, what === this.#short ? 1 : 0);
  }

  stop(): void {
    this.#beat.cancel();
  }

  #next(): Timer {
    const { clock, metrics } = this.#o;
    const due = clock.monotonic() + beatMs;
    return clock.after(beatMs, () => {
      metrics.loopDelay.observe(noLabels, Math.max(0, clock.monotonic() - due) / 1000);
      this.#beat = this.#next();
    });
  }

  #look(): void {
    const { clock, log } = this.#o;
    this.#asked = 0;
    this.#lookedAt = clock.monotonic();
    const usage = this.#usage();
    const was = this.#short;
    this.#short = shortageOf(usage, was);
    if (this.#short === was) return;
    if (this.#short !== undefined) {
      const { used, limit } = usage[this.#short];
      const resource = this.#short;
      log.warn('overloaded: new connections are refused', { resource, used, limit });
    } else {
      log.info('no longer overloaded', { refused: this.#refused });
      this.#refused = 0;
    }
  }
}

/** Linux; elsewhere descriptors count as free. Limits are read once. */
function processUsage(): () => Usage {
  const descriptors = descriptorLimit();
  const given = process.constrainedMemory();
  // Without a limit of its own a control group says 0 or a number beyond any machine.
  const memory = given > 0 && given < 2 ** 52 ? given : Infinity;
  return () => {
    const heap = getHeapStatistics();
    return {
      descriptors: { used: descriptors === Infinity ? 0 : openDescriptors(), limit: descriptors },
      memory: use(memory === Infinity ? 0 : process.memoryUsage.rss(), memory),
      heap: use(heap.used_heap_size, heap.heap_size_limit),
    };
  };
}

const use = (used: number, limit: number): Use => ({ used, limit });

function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const row = limits.split('\n').find((line) => line.startsWith('Max open files')) ?? '';
    return Number(row.split(' ').filter((word) => word !== '')[3]) || Infinity;
  } catch {
    return Infinity;
  }
}

/** Since Linux 6.2 the folder's size is their number. */
function openDescriptors(): number {
  try {
    return statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length;
  } catch {
    // None is left to look with.
    return Infinity;
  }
}
