// The plugins of this waypoint: a process for each version of each that some service wants. A new version serves once it is
// ready, the old one until then and until its calls are answered; a version that cannot be loaded takes nothing away.
import { createHash } from 'node:crypto';
import {
  type BackoffPlan,
  backoffDelay,
  type Clock,
  type Log,
  printable,
  type Random,
  type Timer,
} from '../../core/base/index.ts';
import type { WaypointMetrics } from '../metrics.ts';
import { type HookAnswer, readAnswer } from './answers.ts';
import { containment, type Containment } from './containment.ts';
import type { Hook } from './contract.ts';
import { type Ended, NoPluginAnswer, PluginProcess } from './process.ts';

export interface PluginSpec {
  /** `namespace/name`, or the file. */
  readonly name: string;
  readonly source: string;
  readonly timeoutMs: number;
  readonly failOpen: boolean;
  /** Changes with anything that needs another process. */
  readonly id: string;
}

export const defaultTimeoutMs = 20;

export function pluginSpec(
  given: Omit<PluginSpec, 'id' | 'timeoutMs'> & { readonly timeoutMs?: number },
): PluginSpec {
  const timeoutMs = given.timeoutMs || defaultTimeoutMs;
  const hash = createHash('sha256').update(`${timeoutMs}\n${given.source}`).digest('hex');
  return { ...given, timeoutMs, id: `${given.name}@${hash.slice(0, 16)}` };
}

const restart: BackoffPlan = { firstMs: 100, capMs: 30_000, jitter: 0.2 };
/** After so long without an end, the next restart is a first one again. */
const goodMs = 60_000;

interface Slot {
  readonly spec: PluginSpec;
  wanted: boolean;
  process: PluginProcess | undefined;
  /** Known since it was loaded for the first time. */
  hooks: ReadonlySet<Hook> | undefined;
  /** Settles when the first start has come to an end, good or bad. */
  readonly firstStart: Promise<void>;
  settled: () => void;
  attempt: number;
  startedMs: number;
  timer: Timer | undefined;
  why: string;
}

export interface PluginsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: WaypointMetrics;
}

export class Plugins {
  readonly #o: PluginsOptions;
  readonly #slots = new Map<string, Slot>();
  #stopped = false;
  #held: Containment | undefined;

  constructor(o: PluginsOptions) {
    this.#o = o;
  }

  /** All that any service wants now. */
  sync(specs: Iterable<PluginSpec>): void {
    if (this.#stopped) return;
    const ids = new Set<string>();
    for (const spec of specs) {
      ids.add(spec.id);
      if (!this.#slots.has(spec.id)) this.#add(spec);
    }
    for (const [id, slot] of this.#slots) slot.wanted = ids.has(id);
    this.#retire();
  }

  snapshot(): readonly { name: string; state: string; hooks: readonly string[] }[] {
    return [...this.#slots.values()].map((s) => ({
      name: s.spec.name,
      state: !s.wanted ? 'leaving' : s.process?.usable === true ? 'ready' : s.why || 'starting',
      hooks: [...(s.hooks ?? [])],
    }));
  }

  /** `undefined` = the plugin has no such hook; a text = there is no usable answer, and why. */
  async call(
    spec: PluginSpec,
    hook: Hook,
    args: readonly unknown[],
  ): Promise<HookAnswer | string | undefined> {
    const slot = await this.#serving(spec);
    if (!slot?.hooks) return slot?.why || 'it does not run';
    if (!slot.hooks.has(hook)) return undefined;
    if (slot.process?.usable !== true) return slot.why || 'it does not run';
    const { clock, metrics } = this.#o;
    const began = clock.monotonic();
    try {
      return readAnswer(hook, await slot.process.call(hook, args));
    } catch (error) {
      return error instanceof NoPluginAnswer ? error.message : 'internal error';
    } finally {
      metrics.pluginDuration.observe({ plugin: spec.name, hook }, clock.monotonic() - began);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const s of this.#slots.values()) {
      s.timer?.cancel();
      s.process?.kill();
      s.settled();
    }
    this.#slots.clear();
  }

  /** The version that is wanted if it runs, else another of that name, else what the first start leads to. */
  async #serving(spec: PluginSpec): Promise<Slot | undefined> {
    const own = this.#slots.get(spec.id);
    if (own?.process?.usable === true) return own;
    for (const s of this.#slots.values()) {
      if (s.spec.name === spec.name && s.process?.usable === true) return s;
    }
    await own?.firstStart;
    return own;
  }

  #add(spec: PluginSpec): void {
    let settled = (): void => {};
    const firstStart = new Promise<void>((resolve) => (settled = resolve));
    const slot: Slot = {
      spec,
      wanted: true,
      process: undefined,
      hooks: undefined,
      firstStart,
      settled,
      attempt: 0,
      startedMs: 0,
      timer: undefined,
      why: '',
    };
    this.#slots.set(spec.id, slot);
    void this.#start(slot);
  }

  async #start(slot: Slot): Promise<void> {
    const { clock, log } = this.#o;
    const held = await containment();
    if (!this.#held) log.info('plugins are held in', { by: ['files', ...held.holds].join(', ') });
    this.#held = held;
    if (this.#stopped || this.#slots.get(slot.spec.id) !== slot) return;
    slot.startedMs = clock.monotonic();
    const process = new PluginProcess({
      source: slot.spec.source,
      timeoutMs: slot.spec.timeoutMs,
      containment: held,
      clock,
      ended: (why, detail) => this.#ended(slot, why, detail),
    });
    slot.process = process;
    const hooks = await process.loaded;
    if (!hooks) return;
    slot.hooks = hooks;
    slot.why = '';
    slot.settled();
    log.info('plugin ready', { plugin: slot.spec.name, hooks: [...hooks].join(',') });
    this.#retire();
  }

  #ended(slot: Slot, why: Ended, detail: string): void {
    slot.process = undefined;
    if (why === 'stopped' || this.#stopped) return;
    const { clock, random, log, metrics } = this.#o;
    const { name } = slot.spec;
    if (clock.monotonic() - slot.startedMs > goodMs) slot.attempt = 0;
    const delay = backoffDelay(restart, slot.attempt++, random);
    slot.why = printable(`${why}: ${detail}`, 300);
    slot.settled();
    metrics.pluginRestarts.add({ plugin: name, why });
    log.warn('plugin ended', {
      plugin: name,
      why,
      detail: printable(detail, 300),
      againMs: Math.round(delay),
    });
    if (this.#slots.get(slot.spec.id) === slot)
      slot.timer = clock.after(delay, () => void this.#start(slot));
  }

  /** What nobody wants goes, unless what takes its place is not ready yet. */
  #retire(): void {
    for (const [id, slot] of this.#slots) {
      if (slot.wanted) continue;
      const { name } = slot.spec;
      const next = [...this.#slots.values()].filter((s) => s.wanted && s.spec.name === name);
      const waits = next.some((s) => s.process?.usable !== true);
      if (waits && slot.process?.usable === true) continue;
      this.#slots.delete(id);
      slot.timer?.cancel();
      slot.settled();
      slot.process?.stop();
    }
  }
}
