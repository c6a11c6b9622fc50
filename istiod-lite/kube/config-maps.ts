// One text in every namespace, as a ConfigMap: the root bundle, the revocation list (control-plane.md 5.6).
// Written when a namespace appears or the text changes, restored when somebody deletes or edits it.
import type { Clock, Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';

export interface PublishedText {
  /** ConfigMap and key in it. */
  readonly name: string;
  readonly key: string;
  /** Absent = nothing to publish now. */
  readonly text: () => string | undefined;
}

const skipped = new Set(['kube-public', 'kube-node-lease', 'local-path-storage']);

export class NamespaceConfigMaps {
  readonly #kube: KubeClient;
  readonly #what: PublishedText;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #namespaces = new Set<string>();
  /** What is there, as far as we know. */
  readonly #written = new Map<string, string>();
  /** Being written; true = the watch has told of it meanwhile. */
  readonly #busy = new Map<string, boolean>();
  #stopWatch: (() => void) | undefined;

  constructor(kube: KubeClient, what: PublishedText, clock: Clock, log: Log) {
    this.#kube = kube;
    this.#what = what;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    const note = (o: KubeObject, gone: boolean): void => {
      const namespace = o.metadata.namespace ?? '';
      const text = (o['data'] as Record<string, string> | undefined)?.[this.#what.key] ?? '';
      if (gone) this.#written.delete(namespace);
      else this.#written.set(namespace, text);
      if (this.#busy.has(namespace)) this.#busy.set(namespace, true);
      this.#look(namespace);
    };
    this.#stopWatch = this.#kube.watch(
      resources.configMaps,
      { event: (type, o) => note(o, type === 'DELETED'), synced: () => this.again() },
      { fieldSelector: `metadata.name=${this.#what.name}` },
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

  /** Looks at every namespace anew: the text has changed, or the first list is in. */
  again(): void {
    for (const n of this.#namespaces) this.#look(n);
  }

  #look(namespace: string): void {
    if (!this.#namespaces.has(namespace) || this.#busy.has(namespace)) return;
    const text = this.#what.text();
    if (text === undefined || this.#written.get(namespace) === text) return;
    this.#busy.set(namespace, false);
    this.#write(namespace, text).then(
      () => {
        // The answer to a write may come after the news that somebody has deleted it since: then the news counts.
        if (this.#busy.get(namespace) === false) this.#written.set(namespace, text);
        this.#busy.delete(namespace);
        this.#look(namespace);
      },
      (error: unknown) => {
        this.#busy.delete(namespace);
        const gone = error instanceof KubeError && error.code === 404;
        if (!gone)
          this.#log.warn('cannot write a ConfigMap', { name: this.#what.name, namespace, error });
        this.#clock.after(2_000, () => this.#look(namespace));
      },
    );
  }

  async #write(namespace: string, text: string): Promise<void> {
    const { name, key } = this.#what;
    const object: KubeObject = {
      metadata: {
        name,
        namespace,
        labels: { 'istio.io/config': 'true', 'app.kubernetes.io/part-of': 'ambient-lite' },
      },
      data: { [key]: text },
    };
    try {
      await this.#kube.create(resources.configMaps, object);
    } catch (error) {
      if (!(error instanceof KubeError) || error.code !== 409) throw error;
      const patch = { data: object['data'], metadata: { labels: object.metadata.labels } };
      await this.#kube.patch(resources.configMaps, namespace, name, patch, {
        kind: 'merge',
      });
    }
  }
}
