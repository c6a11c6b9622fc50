// Follows the ConfigMaps that Gateways name, each by a watch of its own: the others of a cluster are nobody's business
// here.
import { type KubeClient, resources } from '../../core/kube/index.ts';
import type { ObjectKey } from '../cluster/index.ts';
import type { GatewayState } from './gateway-state.ts';
import { parametersKey, readParameters } from './parameters.ts';

export class ParameterWatches {
  readonly #kube: KubeClient;
  readonly #gateways: GatewayState;
  readonly #changed: () => void;
  readonly #stops = new Map<ObjectKey, () => void>();

  constructor(o: { kube: KubeClient; gateways: GatewayState; changed: () => void }) {
    this.#kube = o.kube;
    this.#gateways = o.gateways;
    this.#changed = o.changed;
  }

  /** Watches what Gateways name now, and nothing else. */
  settle(): void {
    const wanted = new Set<ObjectKey>();
    for (const g of this.#gateways.gateways.values()) {
      const key = parametersKey(g);
      if (key !== undefined && !g.deleting) wanted.add(key);
    }
    for (const [key, stop] of this.#stops) {
      if (wanted.has(key)) continue;
      stop();
      this.#stops.delete(key);
      this.#gateways.parameters.delete(key);
    }
    for (const key of wanted) if (!this.#stops.has(key)) this.#stops.set(key, this.#watch(key));
  }

  #watch(key: ObjectKey): () => void {
    const { parameters } = this.#gateways;
    const [namespace = '', name = ''] = key.split('/');
    return this.#kube.watch(
      resources.configMaps,
      {
        event: (type, o) => {
          parameters.set(key, type === 'DELETED' ? undefined : readParameters(o));
          this.#changed();
        },
        synced: () => {
          if (parameters.has(key)) return;
          parameters.set(key, undefined);
          this.#changed();
        },
      },
      { fieldSelector: `metadata.name=${name}`, namespace },
    );
  }

  stop(): void {
    for (const stop of this.#stops.values()) stop();
    this.#stops.clear();
  }
}
