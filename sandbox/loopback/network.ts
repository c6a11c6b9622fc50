// Keeps the capture's view and the pods' hosts files in step with the store. Changes are gathered
// for one turn of the loop; whoever needs to know that a change is in force waits for it.
import fs from 'node:fs';
import path from 'node:path';
import type { Log } from '../../core/base/index.ts';
import type { Store } from '../contract.ts';
import {
  as,
  type EndpointSlice,
  keys,
  type Pod,
  type Service,
  type ServiceEntry,
} from '../objects.ts';
import { type Block, inBlock } from './addresses.ts';
import type { CaptureView } from './decide.ts';
import { hostsText, type NamedService, type OutsideName } from './hosts-text.ts';
import {
  buildView,
  type ClusterFacts,
  type MeshFlags,
  namedServices,
  outsideNames,
} from './view.ts';

export interface NetworkOptions {
  readonly store: Store;
  readonly block: Block;
  /** Pods' files live in DIR/UID. */
  readonly podsDir: string;
  readonly log: Log;
  setView(view: CaptureView): Promise<void>;
}

const noFlags: MeshFlags = { outbound: false, inbound: false };

export class Network {
  readonly #options: NetworkOptions;
  readonly #flags = new Map<string, MeshFlags>();
  readonly #hosts = new Map<string, string>(); // uid → text as written
  readonly #unwatch: (() => void)[];
  #waiters: (() => void)[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #last = '';

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#unwatch = [keys.pods, keys.services, keys.endpointSlices, keys.serviceEntries].map(
      (resource) =>
        options.store.watch(resource, (event) => {
          if (resource === keys.pods && event.type === 'DELETED') {
            const uid = event.object.metadata.uid ?? '';
            this.#flags.delete(uid);
            this.#hosts.delete(uid);
          }
          this.#schedule();
        }),
    );
  }

  flags(uid: string): MeshFlags {
    return this.#flags.get(uid) ?? noFlags;
  }

  /** Resolves when every later connection is judged by the new flags. */
  setFlags(uid: string, flags: MeshFlags): Promise<void> {
    if (flags.inbound || flags.outbound) this.#flags.set(uid, flags);
    else this.#flags.delete(uid);
    return this.settled();
  }

  /** Resolves when the store as it is now is in force. */
  settled(): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiters.push(done.resolve);
    this.#schedule();
    return done.promise;
  }

  hostsPath(uid: string): string {
    return path.join(this.#options.podsDir, uid, 'hosts');
  }

  stop(): void {
    for (const off of this.#unwatch) off();
    if (this.#scheduled) clearImmediate(this.#scheduled);
    for (const done of this.#waiters) done();
    this.#waiters = [];
  }

  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#apply().catch((error: unknown) => {
        this.#options.log.error('the network view was not applied', { error: String(error) });
      });
    });
  }

  async #apply(): Promise<void> {
    const waiters = this.#waiters;
    this.#waiters = [];
    const { store, block } = this.#options;
    const facts: ClusterFacts = {
      block,
      pods: store.list(keys.pods).items.map(as<Pod>),
      services: store.list(keys.services).items.map(as<Service>),
      slices: store.list(keys.endpointSlices).items.map(as<EndpointSlice>),
      entries: store.list(keys.serviceEntries).items.map(as<ServiceEntry>),
      flags: this.#flags,
      hostsPath: (uid) => this.hostsPath(uid),
    };
    const view = buildView(facts);
    const named = namedServices(facts, (ip) => inBlock(block, ip));
    const text = JSON.stringify([[...view.pods], [...view.services], [...view.outside]]);
    if (text !== this.#last) await this.#options.setView(view);
    this.#last = text;
    // A name is told when its way is in force: what it stands for may be somebody's outside.
    const outside = outsideNames(facts.entries);
    for (const pod of facts.pods) {
      const seen = view.pods.get(pod.status?.podIP ?? '');
      if (seen?.uid !== pod.metadata.uid) continue;
      // Only the mesh knows them: others ask their resolver.
      this.#write(pod, named, seen?.outbound === true ? outside : []);
    }
    for (const done of waiters) done();
  }

  #write(pod: Pod, named: readonly NamedService[], outside: readonly OutsideName[]): void {
    const { uid = '', name, namespace = '' } = pod.metadata;
    const ip = pod.status?.podIP ?? '';
    const text = hostsText({ ip, hostname: pod.spec.hostname ?? name, namespace }, named, outside);
    if (this.#hosts.get(uid) === text) return;
    const file = this.hostsPath(uid);
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    fs.writeFileSync(`${file}.new`, text);
    fs.renameSync(`${file}.new`, file);
    this.#hosts.set(uid, text);
  }
}
