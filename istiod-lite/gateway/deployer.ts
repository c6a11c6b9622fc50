// Carries out deploy-plan.ts: applies what a Gateway needs whenever it differs from what was applied last or
// somebody else has changed it. Deletion is the garbage collector's, by owner references; an autoscaler or a budget that is
// not asked for any more is taken away here.
import { type Clock, type Log, printable } from '../../core/base/index.ts';
import {
  type KubeClient,
  KubeError,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import type { MeshSettings } from '../translate/index.ts';
import { type Desired, isOurs, type Template } from './deploy-plan.ts';
import { planGateway } from './deploy-plans.ts';
import type { GatewayState } from './gateway-state.ts';
import { fieldManager } from './names.ts';
import type { GatewayFacts } from './objects.ts';

const retryMs = 2_000;

/** What one of the parts did not become. */
class Unapplied extends Error {
  readonly part: string;
  constructor(resource: Resource, { namespace, name }: KubeObject['metadata'], cause: unknown) {
    super(`cannot apply ${resource.kind} ${namespace ?? ''}/${name}`, { cause });
    this.part = `${resource.kind} ${namespace ?? ''}/${name}`;
  }
}

/** Answers that say nothing about what was asked for: who asks, whether it is there, whether it is too much now. */
const passing: ReadonlySet<number> = new Set([401, 404, 408, 409, 429]);

/** What the API server says against it; `undefined` = it may go better another time. */
function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof Unapplied) || !(error.cause instanceof KubeError)) return undefined;
  const { code, message } = error.cause;
  // A patch that does not fit the type is answered 500.
  if (code < 400 || code > 500 || passing.has(code)) return undefined;
  return `the API server refuses ${error.part}: ${printable(message, 400)}`;
}

const parts: readonly (readonly [keyof Desired, Resource])[] = [
  ['serviceAccount', resources.serviceAccounts],
  ['deployment', resources.deployments],
  ['service', resources.services],
  ['horizontalPodAutoscaler', resources.horizontalPodAutoscalers],
  ['podDisruptionBudget', resources.podDisruptionBudgets],
];

const watched = [
  resources.deployments,
  resources.serviceAccounts,
  resources.horizontalPodAutoscalers,
  resources.podDisruptionBudgets,
];

const keyOf = (resource: Resource, o: KubeObject): string =>
  `${resource.plural}/${o.metadata.namespace ?? ''}/${o.metadata.name}`;

export class Deployer {
  readonly #kube: KubeClient;
  readonly #gateways: GatewayState;
  readonly #settings: MeshSettings;
  readonly #template: Template;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #changed: () => void;
  readonly #busy = new Set<string>();
  /** `plural/namespace/name` → the text applied last. */
  readonly #applied = new Map<string, string>();
  /** By `namespace/name` of the Gateway. */
  readonly #refused = new Map<string, string>();
  #stopWatches: (() => void)[] = [];
  #stopped = false;

  constructor(o: {
    kube: KubeClient;
    gateways: GatewayState;
    settings: MeshSettings;
    template: Template;
    clock: Clock;
    log: Log;
    /** Something is there that was not known: `want` is to be called again. */
    changed: () => void;
  }) {
    this.#kube = o.kube;
    this.#gateways = o.gateways;
    this.#settings = o.settings;
    this.#template = o.template;
    this.#clock = o.clock;
    this.#log = o.log;
    this.#changed = o.changed;
  }

  /** Watches what was made, so that it can be put right. */
  start(): void {
    for (const resource of watched) {
      const stop = this.#kube.watch(resource, {
        event: (type, o) => this.#seen(resource, type, o),
        synced: () => {},
      });
      this.#stopWatches.push(stop);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const stop of this.#stopWatches) stop();
    this.#stopWatches = [];
  }

  /** Our Service has vanished or was changed by somebody. */
  serviceChanged(type: string, o: KubeObject): void {
    this.#seen(resources.services, type, o);
  }

  readonly #generations = new Map<string, number>();
  /** What there is of ours, as far as it is watched. */
  readonly #existing = new Set<string>();

  #seen(resource: Resource, type: string, o: KubeObject): void {
    if (!isOurs(o)) return;
    const key = keyOf(resource, o);
    if (type === 'DELETED') this.#existing.delete(key);
    else this.#existing.add(key);
    // Maybe left over from another time: whoever leads looks.
    if (type === 'ADDED' && !this.#applied.has(key)) this.#changed();
    const generation = o.metadata.generation ?? 0;
    const known = this.#generations.get(key);
    const differs = type === 'DELETED' || (known !== undefined && generation > known);
    if (!differs || !this.#applied.delete(key)) return;
    const owner = o.metadata.ownerReferences?.find((r) => r.kind === 'Gateway')?.name;
    const gateway = this.#gateways.gateways.get(`${o.metadata.namespace ?? ''}/${owner ?? ''}`);
    if (gateway) this.want(gateway);
  }

  want(g: GatewayFacts): void {
    const key = `${g.namespace}/${g.name}`;
    if (this.#stopped || this.#busy.has(key)) return;
    const desired = this.#desired(key);
    if (!desired || this.#isDone(desired)) {
      // What was refused is no longer asked for.
      this.#judged(key, undefined);
      return;
    }
    this.#busy.add(key);
    this.#apply(desired).then(
      () => {
        this.#judged(key, undefined);
        this.#again(key, 0);
      },
      (error: unknown) => {
        this.#log.warn('cannot deploy a gateway', { gateway: key, error });
        this.#judged(key, refusalOf(error));
        this.#again(key, retryMs);
      },
    );
  }

  /** Why what a Gateway is served by is not what it should be; by its `namespace/name`. */
  refusal(key: string): string | undefined {
    return this.#refused.get(key);
  }

  #judged(key: string, refusal: string | undefined): void {
    if (this.#refused.get(key) === refusal) return;
    if (refusal === undefined) this.#refused.delete(key);
    else this.#refused.set(key, refusal);
    this.#changed();
  }

  #again(key: string, ms: number): void {
    this.#clock.after(ms, () => {
      this.#busy.delete(key);
      const gateway = this.#gateways.gateways.get(key);
      if (gateway) this.want(gateway);
      else this.#refused.delete(key);
    });
  }

  #desired(key: string): Desired | undefined {
    const g = this.#gateways.gateways.get(key);
    const plan = g && planGateway(this.#gateways, g, this.#template, this.#settings);
    return plan === undefined || plan === 'pending' || plan.fault !== undefined
      ? undefined
      : plan.desired;
  }

  #isDone(desired: Desired): boolean {
    return parts.every(([part, resource]) => {
      const o = desired[part];
      return o
        ? this.#applied.get(keyOf(resource, o)) === JSON.stringify(o)
        : !this.#existing.has(keyOf(resource, desired.deployment));
    });
  }

  async #apply(desired: Desired): Promise<void> {
    for (const [part, resource] of parts) {
      const o = desired[part];
      try {
        if (o) await this.#applyOne(resource, o);
        else await this.#remove(resource, desired.deployment);
      } catch (error) {
        throw new Unapplied(resource, (o ?? desired.deployment).metadata, error);
      }
    }
  }

  async #applyOne(resource: Resource, o: KubeObject): Promise<void> {
    const key = keyOf(resource, o);
    const text = JSON.stringify(o);
    if (this.#applied.get(key) === text) return;
    const { namespace, name } = o.metadata;
    const existing = await this.#kube.get(resource, namespace, name);
    if (existing && !isOurs(existing)) {
      this.#log.warn('an object that is not ours is left alone', { object: key });
    } else {
      const made = await this.#kube.patch(resource, namespace, name, o, {
        kind: 'apply',
        fieldManager,
        force: true,
      });
      this.#generations.set(key, made.metadata.generation ?? 0);
    }
    this.#applied.set(key, text);
  }

  /** Of the name that all parts have. */
  async #remove(resource: Resource, { metadata }: KubeObject): Promise<void> {
    const key = keyOf(resource, { metadata });
    if (!this.#existing.has(key)) return;
    await this.#kube.remove(resource, metadata.namespace, metadata.name);
    this.#existing.delete(key);
    this.#applied.delete(key);
  }
}

/** Makes the classes that are missing; existing ones are their owner's. */
export async function createClass(kube: KubeClient, o: KubeObject): Promise<void> {
  try {
    await kube.create(resources.gatewayClasses, o);
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 409) throw error;
  }
}
