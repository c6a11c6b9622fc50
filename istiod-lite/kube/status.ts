// Status conditions on policies, written only when they differ (control-plane.md 3.8).
import type { Clock, Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, resources } from '../../core/kube/index.ts';
import type { ClusterState, Condition } from '../cluster/index.ts';
import type { PolicyStatus } from '../translate/index.ts';

const attempts = 5;

export class StatusWriter {
  readonly #kube: KubeClient;
  readonly #cluster: ClusterState;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #busy = new Map<string, PolicyStatus>();

  constructor(kube: KubeClient, cluster: ClusterState, clock: Clock, log: Log) {
    this.#kube = kube;
    this.#cluster = cluster;
    this.#clock = clock;
    this.#log = log;
  }

  /** Brings the object's condition to this; the newest wish wins. */
  want(key: string, status: PolicyStatus): void {
    if (!this.#differs(key, status)) return;
    const running = this.#busy.has(key);
    this.#busy.set(key, status);
    if (!running) void this.#run(key, 0);
  }

  #current(key: string): { conditions: readonly Condition[]; generation: number } | undefined {
    const [namespace = '', name = ''] = key.split('/');
    return this.#cluster.authorizationPolicies.get(namespace, name);
  }

  #differs(key: string, s: PolicyStatus): boolean {
    const now = this.#current(key);
    if (!now) return false;
    const c = now.conditions.find((x) => x.type === s.type);
    return (
      c?.status !== s.status ||
      c.reason !== s.reason ||
      c.message !== s.message ||
      c.observedGeneration !== now.generation
    );
  }

  async #run(key: string, attempt: number): Promise<void> {
    const status = this.#busy.get(key);
    const now = this.#current(key);
    if (!status || !now || !this.#differs(key, status)) {
      this.#busy.delete(key);
      return;
    }
    const [namespace = '', name = ''] = key.split('/');
    const old = now.conditions.find((c) => c.type === status.type);
    const time = new Date(this.#clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = {
      ...status,
      observedGeneration: now.generation,
      lastTransitionTime: old?.status === status.status ? old.lastTransitionTime : time,
    };
    const conditions = [...now.conditions.filter((c) => c.type !== status.type), condition];
    try {
      await this.#kube.patch(
        resources.authorizationPolicies,
        namespace,
        name,
        { status: { conditions } },
        { kind: 'merge', subresource: 'status' },
      );
      this.#busy.delete(key);
    } catch (error) {
      const gone = error instanceof KubeError && error.code === 404;
      if (gone || attempt + 1 >= attempts) {
        this.#busy.delete(key);
        if (!gone) this.#log.warn('cannot write a status', { policy: key, error });
        return;
      }
      this.#clock.after(200 * 2 ** attempt, () => void this.#run(key, attempt + 1));
    }
  }
}
