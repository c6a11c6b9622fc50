// Takes the taint off nodes that were planned to be opened. A right of its own (manifests/extras/node-taint), for
// few clusters use the taint; without it the log says once what is missing.
import type { Clock, Log, Timer } from '../../core/base/index.ts';
import { type KubeClient, KubeError, resources } from '../../core/kube/index.ts';
import { notReadyTaint, type OpenNode } from '../cluster/index.ts';

const againMs = 5_000;

export class NodeTaints {
  readonly #kube: KubeClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #again: () => void;
  readonly #busy = new Set<string>();
  #timer: Timer | undefined;
  #told = false;

  /** `again` is called when what failed should be planned anew. */
  constructor(kube: KubeClient, clock: Clock, log: Log, again: () => void) {
    this.#kube = kube;
    this.#clock = clock;
    this.#log = log;
    this.#again = again;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  want(nodes: readonly OpenNode[]): void {
    for (const node of nodes) {
      if (this.#busy.has(node.name)) continue;
      this.#busy.add(node.name);
      this.#open(node)
        .catch((error: unknown) => this.#failed(node, error))
        .finally(() => this.#busy.delete(node.name));
    }
  }

  async #open({ name, resourceVersion, taints }: OpenNode): Promise<void> {
    const patch = { metadata: { resourceVersion }, spec: { taints } };
    await this.#kube.patch(resources.nodes, undefined, name, patch, { kind: 'merge' });
    this.#log.info('a node is open to pods: the mesh works there', { node: name });
  }

  #failed({ name }: OpenNode, error: unknown): void {
    const code = error instanceof KubeError ? error.code : 0;
    if (code === 404) return;
    if (code === 403 && !this.#told) {
      this.#told = true;
      this.#log.warn('a node keeps its taint: install with nodeTaint=true', {
        node: name,
        taint: notReadyTaint,
      });
    } else if (code !== 403 && code !== 409) {
      this.#log.warn('a taint was not taken away', { node: name, error });
    }
    this.#timer?.cancel();
    this.#timer = this.#clock.after(againMs, this.#again);
  }
}
