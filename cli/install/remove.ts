// Takes an installation away again: what it made is found by its label, not by a list kept somewhere.
import { setTimeout as pause } from 'node:timers/promises';
import {
  type KubeClient,
  KubeError,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { Applier } from '../apply.ts';
import { CliError } from '../errors.ts';
import { describeObject, isOurs } from './plan.ts';
import { partName, partOf } from './render.ts';

export interface RemoveOptions {
  /** Also kinds, namespace, root of the CA, and what the control plane has made since. */
  readonly purge: boolean;
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly timeoutMs: number;
  readonly say: (line: string) => void;
}

const modeLabel = 'istio.io/dataplane-mode';
const waypointLabel = 'istio.io/use-waypoint';
const redirection = 'ambient.istio.io/redirection';
const managed = 'gateway.istio.io/managed';
const pollMs = 500;

const enrolled = (p: KubeObject): boolean => p.metadata.annotations?.[redirection] === 'enabled';

export class Remover {
  readonly #kube: KubeClient;
  readonly #namespace: string;
  readonly #o: RemoveOptions;
  readonly #removed: string[] = [];

  constructor(kube: KubeClient, namespace: string, options: RemoveOptions) {
    this.#kube = kube;
    this.#namespace = namespace;
    this.#o = options;
  }

  /** `objects` tells which kinds an installation has. Throws CliError while pods are in the mesh, unless purged or forced. */
  async remove(objects: readonly KubeObject[]): Promise<readonly string[]> {
    await this.#leave();
    const kinds = await this.#kindsOf(objects);
    const last = new Set(['CustomResourceDefinition', 'Namespace']);
    // Nodes' agents first: they end capture before the proxy goes.
    const programs = objects.filter((o) => o.kind === 'DaemonSet' || o.kind === 'Deployment');
    for (const o of programs.toReversed()) {
      const r = kinds.get(o.kind ?? '');
      if (r) await this.#drop(r, o);
    }
    if (this.#o.purge) await this.#stopped();
    for (const [kind, r] of [...kinds].toReversed()) if (!last.has(kind)) await this.#dropAll(r);
    if (!this.#o.purge) return this.#removed;
    for (const r of [resources.configMaps, resources.secrets, resources.leases])
      await this.#dropAll(r);
    for (const r of [resources.deployments, resources.services, resources.serviceAccounts])
      await this.#dropAll(r, managed);
    await this.#dropAll(resources.customResourceDefinitions);
    const home = await this.#kube.get(resources.namespaces, undefined, this.#namespace);
    if (home && isOurs(home)) await this.#drop(resources.namespaces, home);
    return this.#removed;
  }

  /** No pod may be left whose traffic goes into a proxy that is about to vanish. */
  async #leave(): Promise<void> {
    const { items } = await this.#kube.list(resources.namespaces);
    const inside = items.filter((n) => n.metadata.labels?.[modeLabel] === 'ambient');
    const pods = (await this.#kube.list(resources.pods)).items.filter(enrolled);
    if (inside.length === 0 && pods.length === 0) return;
    if (!this.#o.purge && !this.#o.force) {
      const names = inside.map((n) => n.metadata.name).join(' ');
      throw new CliError(
        `${pods.length} pods are in the mesh, in namespaces: ${names || 'without label'}\n` +
          `Take them out first (kubectl label namespace ${names || 'NAME'} ${modeLabel}-), or use --purge, which does, or --force`,
      );
    }
    if (!this.#o.purge || this.#o.dryRun) return;
    for (const n of items) {
      const own = [modeLabel, waypointLabel].filter((l) => n.metadata.labels?.[l] !== undefined);
      if (own.length === 0) continue;
      const labels = Object.fromEntries(own.map((l) => [l, null]));
      await this.#kube.patch(
        resources.namespaces,
        undefined,
        n.metadata.name,
        { metadata: { labels } },
        { kind: 'merge' },
      );
      this.#o.say(`- namespace ${n.metadata.name} leaves the mesh`);
    }
    const end = systemClock.monotonic() + this.#o.timeoutMs;
    for (;;) {
      const left = (await this.#kube.list(resources.pods)).items.filter(enrolled);
      if (left.length === 0) return;
      if (systemClock.monotonic() > end) {
        if (this.#o.force) return;
        throw new CliError(
          `${left.length} pods are still in the mesh, first ${left[0]?.metadata.namespace}/${left[0]?.metadata.name}; does node-agent run? --force goes on`,
        );
      }
      await pause(pollMs);
    }
  }

  /** A control plane that still runs would write again what is deleted. */
  async #stopped(): Promise<void> {
    const end = systemClock.monotonic() + this.#o.timeoutMs;
    while (!this.#o.dryRun && systemClock.monotonic() < end) {
      const { items } = await this.#kube.list(resources.pods, this.#namespace, {
        labelSelector: `app=istiod,${partOf}=${partName}`,
      });
      if (items.length === 0) return;
      await pause(pollMs);
    }
  }

  /** By kind, in the order of the installation; kinds that the server does not know are left out. */
  async #kindsOf(objects: readonly KubeObject[]): Promise<Map<string, Resource>> {
    const applier = new Applier(this.#kube);
    const out = new Map<string, Resource>();
    for (const o of objects) {
      if (out.has(o.kind ?? '')) continue;
      try {
        out.set(o.kind ?? '', await applier.resourceOf(o));
      } catch (error) {
        const absent =
          error instanceof CliError || (error instanceof KubeError && error.code === 404);
        if (!absent) throw error;
      }
    }
    return out;
  }

  async #dropAll(r: Resource, label = `${partOf}=${partName}`): Promise<void> {
    const { items } = await this.#kube.list(r, undefined, { labelSelector: label });
    for (const o of items) await this.#drop(r, { ...o, kind: r.kind });
  }

  async #drop(r: Resource, o: KubeObject): Promise<void> {
    const at = r.namespaced ? o.metadata.namespace : undefined;
    const now = await this.#kube.get(r, at, o.metadata.name);
    // Somebody else's of the same name is left alone.
    if (!now || (!isOurs(now) && now.metadata.labels?.[managed] === undefined)) return;
    if (!this.#o.dryRun) {
      await this.#kube.remove(r, at, o.metadata.name).catch((error: unknown) => {
        if (!(error instanceof KubeError && error.code === 404)) throw error;
      });
    }
    const what = describeObject({ ...o, kind: r.kind });
    this.#removed.push(what);
    this.#o.say(`  Removed ${what}.`);
  }
}
