// The root bundle in every namespace, as ConfigMap `istio-ca-root-cert` (control-plane.md 5.6): written
// when a namespace appears, restored when somebody deletes or edits it.
import type { Clock, Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';

const configMapName = 'istio-ca-root-cert';
const skipped = new Set(['kube-public', 'kube-node-lease', 'local-path-storage']);

export class RootConfigMaps {
  readonly #kube: KubeClient;
  readonly #root: () => string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #namespaces = new Set<string>();
  readonly #written = new Map<string, string>();
  readonly #busy = new Set<string>();
  #stopWatch: (() => void) | undefined;

  constructor(kube: KubeClient, root: () => string, clock: Clock, log: Log) {
    this.#kube = kube;
    this.#root = root;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    const note = (o: KubeObject, gone: boolean): void => {
      const namespace = o.metadata.namespace ?? '';
      const text = (o['data'] as Record<string, string> | undefined)?.['root-cert.pem'] ?? '';
      if (gone) this.#written.delete(namespace);
      else this.#written.set(namespace, text);
      this.#look(namespace);
    };
    this.#stopWatch = this.#kube.watch(
      resources.configMaps,
      { event: (type, o) => note(o, type === 'DELETED'), synced: () => this.again() },
      { fieldSelector: `metadata.name=${configMapName}` },
    );
  }

  stop(): void {
    this.#stopWatch?.();
    this.#namespaces.clear();
  }

  namespace(name: string, present: boolean): void {
    if (!present || skipped.has(name)) this.#namespaces.delete(name);
    else {
      this.#namespaces.add(name);
      this.#look(name);
    }
  }

  /** Looks at every namespace anew: the bundle has changed, or the first list is in. */
  again(): void {
    for (const n of this.#namespaces) this.#look(n);
  }

  #look(namespace: string): void {
    if (!this.#namespaces.has(namespace) || this.#busy.has(namespace)) return;
    if (this.#written.get(namespace) === this.#root()) return;
    this.#busy.add(namespace);
    this.#write(namespace).then(
      () => {
        this.#busy.delete(namespace);
        this.#look(namespace);
      },
      (error: unknown) => {
        this.#busy.delete(namespace);
        const gone = error instanceof KubeError && error.code === 404;
        if (!gone) this.#log.warn('cannot write the root bundle', { namespace, error });
        this.#clock.after(2_000, () => this.#look(namespace));
      },
    );
  }

  async #write(namespace: string): Promise<void> {
    const root = this.#root();
    const object: KubeObject = {
      metadata: { name: configMapName, namespace, labels: { 'istio.io/config': 'true' } },
      data: { 'root-cert.pem': root },
    };
    try {
      await this.#kube.create(resources.configMaps, object);
    } catch (error) {
      if (!(error instanceof KubeError) || error.code !== 409) throw error;
      const patch = { data: object['data'], metadata: { labels: object.metadata.labels } };
      await this.#kube.patch(resources.configMaps, namespace, configMapName, patch, {
        kind: 'merge',
      });
    }
    this.#written.set(namespace, root);
  }
}
