// The Lease of the control plane's replicas: one of them writes statuses and deployments, the others only serve
// (control-plane.md 3.8). Decisions are in lease-state.ts; here are the requests and the clock.
import type { Clock, Log, Timer } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import {
  type LeasePlan,
  type LeaseSeen,
  type LeaseState,
  leads,
  leaseLost,
  leaseWritten,
  nextLeaseStep,
  noLease,
  observeLease,
} from './lease-state.ts';

const leaseName = 'istiod-lite-leader';
const plan: LeasePlan = { durationMs: 15_000, renewDeadlineMs: 10_000 };
const retryMs = 2_000;

export interface LeaderOptions {
  readonly kube: KubeClient;
  readonly namespace: string;
  /** This replica; the same after a restart of its container. */
  readonly identity: string;
  readonly clock: Clock;
  readonly log: Log;
  /** This replica leads from now on: everything must be looked at anew. */
  readonly elected: () => void;
}

function readLease(o: KubeObject): LeaseSeen {
  const spec = (o['spec'] ?? {}) as { holderIdentity?: unknown; renewTime?: unknown };
  return {
    holder: typeof spec.holderIdentity === 'string' ? spec.holderIdentity : '',
    renewed: typeof spec.renewTime === 'string' ? spec.renewTime : '',
    version: o.metadata.resourceVersion ?? '',
  };
}

const raced = (error: unknown): boolean => error instanceof KubeError && error.code === 409;

export class Leader {
  readonly #o: LeaderOptions;
  #state: LeaseState = noLease;
  #timer: Timer | undefined;
  #turning: Promise<void> = Promise.resolve();
  #stopped = false;
  #wasLeading = false;

  constructor(options: LeaderOptions) {
    this.#o = options;
  }

  get leading(): boolean {
    return !this.#stopped && leads(this.#state, this.#o.clock.monotonic());
  }

  start(): void {
    this.#turning = this.#turn();
  }

  /** Gives the Lease back, so that another replica need not wait. Never rejects. */
  async stop(): Promise<void> {
    const led = this.leading;
    this.#stopped = true;
    this.#timer?.cancel();
    // A renewal on its way would take the Lease anew after it was given back.
    await this.#turning;
    if (led) await this.#giveBack().catch((error: unknown) => this.#notGiven(error));
  }

  async #giveBack(): Promise<void> {
    const { kube, namespace, identity, clock } = this.#o;
    try {
      await this.#write('');
    } catch (error) {
      if (!raced(error)) throw error;
      // Somebody wrote beside us (a label, an owner): once more, if it still is ours.
      const lease = await kube.get(resources.leases, namespace, leaseName);
      this.#state = observeLease(this.#state, lease && readLease(lease), clock.monotonic());
      if (this.#state.seen?.holder === identity) await this.#write('');
    }
  }

  #notGiven(error: unknown): void {
    const waits = 'another replica leads when it has run out';
    this.#o.log.warn('cannot give the leader’s lease back', { error, waits });
  }

  async #turn(): Promise<void> {
    try {
      await this.#try();
    } catch (error) {
      if (!raced(error)) this.#o.log.warn('cannot renew the leader’s lease', { error });
    }
    if (this.#stopped) return;
    this.#tell();
    this.#timer = this.#o.clock.after(retryMs, () => this.start());
  }

  async #try(): Promise<void> {
    const { kube, namespace, identity, clock } = this.#o;
    const lease = await kube.get(resources.leases, namespace, leaseName);
    if (this.#stopped) return;
    this.#state = observeLease(this.#state, lease && readLease(lease), clock.monotonic());
    const step = nextLeaseStep(this.#state, identity, plan, clock.monotonic());
    if (step === 'wait') {
      this.#state = leaseLost(this.#state);
      return;
    }
    // Counted from before the write: it may have been in force for that long.
    const began = clock.monotonic();
    await this.#write(identity);
    this.#state = leaseWritten(this.#state, plan, began);
  }

  async #write(holder: string): Promise<void> {
    const { kube, namespace, clock } = this.#o;
    const time = new Date(clock.now()).toISOString().replace('Z', '000Z');
    const spec = {
      holderIdentity: holder,
      leaseDurationSeconds: plan.durationMs / 1000,
      renewTime: time,
      acquireTime: time,
    };
    const labels = { 'app.kubernetes.io/part-of': 'ambient-lite' };
    const metadata = { name: leaseName, namespace, labels };
    const { seen } = this.#state;
    const object = seen
      ? await kube.replace(resources.leases, {
          metadata: { ...metadata, resourceVersion: seen.version },
          spec,
        })
      : await kube.create(resources.leases, { metadata, spec });
    this.#state = observeLease(this.#state, readLease(object), clock.monotonic());
  }

  #tell(): void {
    const { leading } = this;
    if (leading === this.#wasLeading) return;
    this.#wasLeading = leading;
    this.#o.log.info(leading ? 'this replica leads' : 'this replica no longer leads', {
      identity: this.#o.identity,
    });
    if (leading) this.#o.elected();
  }
}
