// What the journal hands to watchers: an event whose object is parsed only if somebody looks.
import type { KubeObject, ResourceKey, StoreEvent } from '../contract.ts';

export class StoredEvent implements StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly resource: ResourceKey;
  readonly revision: number;
  /** The object's final JSON. */
  readonly text: string;
  /** The object's JSON before this event; undefined for ADDED. */
  readonly previousText: string | undefined;
  #object: KubeObject | undefined;
  #previous: KubeObject | undefined;

  constructor(
    type: 'ADDED' | 'MODIFIED' | 'DELETED',
    resource: ResourceKey,
    revision: number,
    text: string,
    previousText: string | undefined,
  ) {
    this.type = type;
    this.resource = resource;
    this.revision = revision;
    this.text = text;
    this.previousText = previousText;
  }

  get object(): KubeObject {
    this.#object ??= JSON.parse(this.text) as KubeObject;
    return this.#object;
  }

  get previous(): KubeObject | undefined {
    if (this.previousText === undefined) return undefined;
    this.#previous ??= JSON.parse(this.previousText) as KubeObject;
    return this.#previous;
  }
}
