// One informer loop: list, watch from there, resume, re-list after 410, back off, and wait for resources
// whose CRD comes later. client-node's own informer stops at its first error; this one does not.
import type { KubeConfig, Watch } from '@kubernetes/client-node';
import { backoffDelay, type Clock, type Log, type Random } from '../base/index.ts';
import type { Rest } from './rest.ts';
import {
  KubeError,
  type KubeObject,
  type Resource,
  resourcePath,
  type WatchHandlers,
} from './types.ts';

const backoff = { firstMs: 200, capMs: 15_000, jitter: 0.3 };
/** How often an absent resource is asked for again. */
const absentMs = 2_000;

export interface WatchDeps {
  readonly config: KubeConfig;
  readonly makeWatch: (config: KubeConfig) => Watch;
  readonly rest: Rest;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Narrows list and watch to some objects. */
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** Absent = all namespaces. */
  readonly namespace?: string | undefined;
}

export class ResourceWatch {
  readonly #d: WatchDeps;
  readonly #r: Resource;
  readonly #h: WatchHandlers;
  readonly #known = new Map<string, KubeObject>();
  #stopped = false;
  #abort: AbortController | undefined;
  #attempt = 0;
  #version = '';

  constructor(deps: WatchDeps, resource: Resource, handlers: WatchHandlers) {
    this.#d = deps;
    this.#r = resource;
    this.#h = handlers;
    void this.#list();
  }

  stop(): void {
    this.#stopped = true;
    this.#abort?.abort();
  }

  #later(ms: number, work: () => Promise<void>): void {
    this.#d.clock.after(ms, () => void (this.#stopped || work()));
  }

  #retry(work: () => Promise<void>): void {
    this.#later(backoffDelay(backoff, this.#attempt++, this.#d.random), work);
  }

  async #list(): Promise<void> {
    if (this.#stopped) return;
    let list: { items?: KubeObject[]; metadata?: { resourceVersion?: string } };
    try {
      const { fieldSelector, labelSelector } = this.#d;
      const selectors = Object.entries({ fieldSelector, labelSelector }).flatMap(([k, v]) =>
        v ? [`${k}=${encodeURIComponent(v)}`] : [],
      );
      const query = selectors.length > 0 ? `?${selectors.join('&')}` : '';
      list = (await this.#d.rest.json(
        'GET',
        resourcePath(this.#r, this.#d.namespace) + query,
      )) as typeof list;
    } catch (error) {
      if (error instanceof KubeError && error.code === 404) {
        this.#replace([]);
        this.#h.synced(false);
        return this.#later(absentMs, () => this.#list());
      }
      this.#d.log.warn('list failed', { resource: this.#r.plural, error });
      return this.#retry(() => this.#list());
    }
    if (this.#stopped) return;
    this.#version = list.metadata?.resourceVersion ?? '';
    this.#replace(list.items ?? []);
    this.#h.synced(true);
    await this.#watch();
  }

  #key(o: KubeObject): string {
    return `${o.metadata.namespace ?? ''}/${o.metadata.name}`;
  }

  /** Turns a list into the events that lead there from what was known. */
  #replace(items: readonly KubeObject[]): void {
    const gone = new Map(this.#known);
    for (const item of items) {
      const key = this.#key(item);
      const old = gone.get(key);
      gone.delete(key);
      this.#known.set(key, item);
      if (!old) this.#h.event('ADDED', item);
      else if (old.metadata.resourceVersion !== item.metadata.resourceVersion) {
        this.#h.event('MODIFIED', item);
      }
    }
    for (const [key, old] of gone) {
      this.#known.delete(key);
      this.#h.event('DELETED', old);
    }
  }

  #take(phase: string, object: KubeObject & { code?: number }): 'expired' | undefined {
    if (phase === 'ERROR') return 'expired';
    this.#attempt = 0;
    this.#version = object.metadata.resourceVersion ?? this.#version;
    if (phase === 'BOOKMARK') return undefined;
    const key = this.#key(object);
    if (phase === 'DELETED') this.#known.delete(key);
    else this.#known.set(key, object);
    if (phase === 'ADDED' || phase === 'MODIFIED' || phase === 'DELETED')
      this.#h.event(phase, object);
    return undefined;
  }

  async #watch(): Promise<void> {
    if (this.#stopped) return;
    let expired = false;
    this.#abort = await this.#d.makeWatch(this.#d.config).watch(
      resourcePath(this.#r, this.#d.namespace),
      {
        resourceVersion: this.#version,
        allowWatchBookmarks: true,
        fieldSelector: this.#d.fieldSelector,
        labelSelector: this.#d.labelSelector,
      },
      (phase, object: KubeObject) => {
        if (!this.#stopped && this.#take(phase, object) === 'expired') {
          expired = true;
          this.#abort?.abort();
        }
      },
      (error: unknown) => {
        if (this.#stopped) return;
        const code = (error as { statusCode?: number } | null)?.statusCode;
        if (expired || code === 410 || code === 404) return this.#retry(() => this.#list());
        this.#retry(() => this.#watch());
      },
    );
    if (this.#stopped) this.#abort.abort();
  }
}
