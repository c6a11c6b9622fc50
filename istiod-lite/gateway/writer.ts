// Writes status where it differs: one write per object at a time, retried a few times, newest wish wins.
import type { Clock, Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type Resource } from '../../core/kube/index.ts';

const attempts = 5;

export interface StatusWish {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string;
  /** The status patch for now, from the newest facts; `undefined` = nothing to change. */
  readonly build: (now: string) => object | undefined;
}

export class GatewayStatusWriter {
  readonly #kube: KubeClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #busy = new Map<string, StatusWish>();
  #stopped = false;

  constructor(kube: KubeClient, clock: Clock, log: Log) {
    this.#kube = kube;
    this.#clock = clock;
    this.#log = log;
  }

  stop(): void {
    this.#stopped = true;
  }

  want(wish: StatusWish): void {
    const key = `${wish.resource.plural}/${wish.namespace ?? ''}/${wish.name}`;
    const running = this.#busy.has(key);
    if (!running && !wish.build('')) return;
    this.#busy.set(key, wish);
    if (!running) void this.#run(key, 0);
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
  }

  async #run(key: string, attempt: number): Promise<void> {
    const wish = this.#busy.get(key);
    const status = wish?.build(this.#now());
    if (!wish || !status || this.#stopped) {
      this.#busy.delete(key);
      return;
    }
    const { resource, namespace, name } = wish;
    try {
      await this.#kube.patch(
        resource,
        namespace,
        name,
        { status },
        {
          kind: 'merge',
          subresource: 'status',
        },
      );
      this.#busy.delete(key);
    } catch (error) {
      const gone = error instanceof KubeError && error.code === 404;
      if (gone || attempt + 1 >= attempts) {
        this.#busy.delete(key);
        if (!gone) this.#log.warn('cannot write a status', { object: key, error });
        return;
      }
      this.#clock.after(200 * 2 ** attempt, () => void this.#run(key, attempt + 1));
    }
  }
}
