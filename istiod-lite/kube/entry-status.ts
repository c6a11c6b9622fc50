// Writes what was planned for the status of ServiceEntries: addresses, from where translation reads them, and
// why one is not used. One write at a time per entry; who lost a race looks again with the next event.
import type { Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, resources } from '../../core/kube/index.ts';
import type { EntryStatus } from '../translate/index.ts';

export class EntryStatusWriter {
  readonly #kube: KubeClient;
  readonly #log: Log;
  readonly #busy = new Set<string>();

  constructor(kube: KubeClient, log: Log) {
    this.#kube = kube;
    this.#log = log;
  }

  want(all: readonly EntryStatus[]): void {
    for (const a of all) {
      const key = `${a.namespace}/${a.name}`;
      if (this.#busy.has(key)) continue;
      this.#busy.add(key);
      this.#write(a)
        .catch((error: unknown) => {
          if (error instanceof KubeError && (error.code === 404 || error.code === 409)) return;
          this.#log.warn('cannot write the status of a ServiceEntry', { entry: key, error });
        })
        .finally(() => this.#busy.delete(key));
    }
  }

  async #write({ namespace, name, ...status }: EntryStatus): Promise<void> {
    const patch = { status };
    const how = { kind: 'merge', subresource: 'status' } as const;
    await this.#kube.patch(resources.serviceEntries, namespace, name, patch, how);
  }
}
