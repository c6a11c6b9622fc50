// Carries an installation out: applies phase by phase, waits for each, and says what it waits for. The decisions are in
// plan.ts and rollout.ts.
import { setTimeout as pause } from 'node:timers/promises';
import {
  type KubeClient,
  KubeError,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { Applier } from '../apply.ts';
import { CliError } from '../errors.ts';
import { describeObject, judgeExisting, planInstall } from './plan.ts';
import { lastWarning, podTrouble, rolloutOf } from './rollout.ts';

export interface InstallOptions {
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly wait: boolean;
  readonly timeoutMs: number;
  readonly say: (line: string) => void;
}

export interface InstallOutcome {
  readonly applied: readonly string[];
  readonly kept: readonly string[];
}

const pollMs = 500;
const sayAgainMs = 10_000;

/** A kind of a CRD applied a moment ago may not be served yet. */
const kindLimitMs = 30_000;

export class Installer {
  readonly #kube: KubeClient;
  readonly #o: InstallOptions;
  readonly #applied: string[] = [];
  readonly #kept: string[] = [];

  constructor(kube: KubeClient, options: InstallOptions) {
    this.#kube = kube;
    this.#o = options;
  }

  /** Throws CliError with what was wrong; what was applied until then stays, and another run goes on from there. */
  async install(objects: readonly KubeObject[]): Promise<InstallOutcome> {
    const phases = planInstall(objects).filter((p) => p.objects.length > 0);
    // Everything that speaks against it is found before anything is changed.
    const verdicts = new Map<KubeObject, 'apply' | 'keep'>();
    for (const o of objects) verdicts.set(o, await this.#judge(o));
    for (const { title, objects: all } of phases) {
      const mine = all.filter((o) => verdicts.get(o) === 'apply');
      for (const o of mine) await this.#apply(o);
      if (this.#o.wait && !this.#o.dryRun) for (const o of mine) await this.#ready(o);
      this.#o.say(`✔ ${title}: ${mine.length} applied`);
    }
    return { applied: this.#applied, kept: this.#kept };
  }

  async #judge(o: KubeObject): Promise<'apply' | 'keep'> {
    const existing = await this.#read(o);
    const verdict = judgeExisting(o, existing);
    if (verdict.kind === 'apply') return 'apply';
    if (verdict.kind === 'refuse' && this.#o.force) return 'apply';
    if (verdict.kind === 'refuse') throw new CliError(verdict.why);
    this.#kept.push(describeObject(o));
    this.#o.say(`- ${verdict.why}`);
    return 'keep';
  }

  async #read(o: KubeObject): Promise<KubeObject | undefined> {
    let resource: Resource;
    try {
      resource = await new Applier(this.#kube).resourceOf(o);
    } catch (error) {
      // Its kind is not there yet.
      if (error instanceof CliError || (error instanceof KubeError && error.code === 404)) return;
      throw error;
    }
    const at = resource.namespaced ? o.metadata.namespace : undefined;
    return this.#kube.get(resource, at, o.metadata.name);
  }

  async #apply(o: KubeObject): Promise<void> {
    const end = systemClock.monotonic() + kindLimitMs;
    for (;;) {
      try {
        await new Applier(this.#kube).apply(o, 'default', this.#o.dryRun);
        this.#applied.push(describeObject(o));
        return;
      } catch (error) {
        const absent =
          error instanceof CliError || (error instanceof KubeError && error.code === 404);
        // A dry run makes neither the kinds nor the namespace that the rest needs.
        if (absent && this.#o.dryRun) return void this.#applied.push(describeObject(o));
        if (!absent || systemClock.monotonic() > end) {
          const why = error instanceof Error ? error.message : String(error);
          throw new CliError(`${describeObject(o)}: ${why}`);
        }
      }
      await pause(pollMs);
    }
  }

  async #ready(o: KubeObject): Promise<void> {
    const end = systemClock.monotonic() + this.#o.timeoutMs;
    let next = systemClock.monotonic() + sayAgainMs;
    for (;;) {
      const now = await this.#read(o);
      const state = now ? rolloutOf(now) : { kind: 'waiting' as const, why: 'was deleted' };
      if (state.kind === 'ready') return;
      const late = systemClock.monotonic() > end;
      if (late || systemClock.monotonic() > next) {
        const reasons = now ? await this.#reasons(now) : [];
        const line = [`${describeObject(o)}: ${state.why}`, ...reasons].join('\n    ');
        if (late) throw new CliError(`not ready after ${this.#o.timeoutMs / 1000} s: ${line}`);
        this.#o.say(`… ${line}`);
        next = systemClock.monotonic() + sayAgainMs;
      }
      await pause(pollMs);
    }
  }

  /** What its pods, or the controllers that cannot make them, say. */
  async #reasons(o: KubeObject): Promise<string[]> {
    const { namespace } = o.metadata;
    if (namespace === undefined) return [];
    const labels = (o['spec'] as { selector?: { matchLabels?: Record<string, string> } }).selector
      ?.matchLabels;
    const labelSelector = Object.entries(labels ?? {})
      .map(([k, v]) => `${k}=${v}`)
      .join(',');
    const [pods, events] = await Promise.all([
      this.#kube.list(resources.pods, namespace, { labelSelector }),
      this.#kube.list(resources.events, namespace).catch(() => ({ items: [] as KubeObject[] })),
    ]);
    const about = (name: RegExp): KubeObject[] =>
      events.items.filter((e) => name.test((e['involvedObject'] as { name?: string })?.name ?? ''));
    const troubles = pods.items.flatMap((p) => {
      const why = podTrouble(p, about(new RegExp(`^${p.metadata.name}$`)));
      return why === undefined ? [] : [`pod ${p.metadata.name}: ${why}`];
    });
    if (pods.items.length > 0) return troubles.slice(0, 5);
    const said = lastWarning(about(new RegExp(`^${o.metadata.name}(-[a-z0-9]+)?$`)));
    return [said ?? 'it has no pods, and nobody says why; does a controller manager run?'];
  }
}
