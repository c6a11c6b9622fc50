// Applies YAML to an API server: server-side apply, with the resources looked up by discovery.
import { parseAllDocuments } from 'yaml';
import { type KubeClient, KubeError, type KubeObject, type Resource } from '../core/kube/index.ts';
import { CliError } from './errors.ts';

interface ApiResource {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** Documents of a YAML text; throws CliError with line and column for text that is no YAML. */
export function readManifests(text: string, name: string): KubeObject[] {
  const objects: KubeObject[] = [];
  for (const document of parseAllDocuments(text)) {
    const [error] = document.errors;
    if (error) throw new CliError(`${name}: ${error.message}`);
    const object = document.toJS() as KubeObject | null;
    if (object === null) continue;
    if (!object.apiVersion || !object.kind || !object.metadata?.name) {
      throw new CliError(`${name}: an object needs apiVersion, kind and metadata.name`);
    }
    objects.push(object);
  }
  return objects;
}

export class Applier {
  readonly #kube: KubeClient;
  readonly #known = new Map<string, readonly ApiResource[]>();

  constructor(kube: KubeClient) {
    this.#kube = kube;
  }

  async resourceOf(object: KubeObject): Promise<Resource> {
    const [first = '', second] = (object.apiVersion ?? '').split('/');
    const [group, version] = second === undefined ? ['', first] : [first, second];
    const path = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    let list = this.#known.get(path);
    if (!list) {
      const answer = (await this.#kube.raw('GET', path)) as { resources?: ApiResource[] };
      list = answer.resources ?? [];
      this.#known.set(path, list);
    }
    const hit = list.find((r) => r.kind === object.kind && !r.name.includes('/'));
    if (!hit)
      throw new CliError(`the server knows no ${object.kind ?? ''} in ${object.apiVersion ?? ''}`);
    return { group, version, plural: hit.name, kind: hit.kind, namespaced: hit.namespaced };
  }

  /** Creates or updates; the answer is the object as stored, or as it would be in a dry run. */
  async apply(object: KubeObject, namespace: string, dryRun = false): Promise<KubeObject> {
    const resource = await this.resourceOf(object);
    const where = resource.namespaced ? (object.metadata.namespace ?? namespace) : undefined;
    return this.#kube.patch(resource, where, object.metadata.name, object, {
      kind: 'apply',
      fieldManager: 'ambientctl',
      force: true,
      dryRun,
    });
  }

  /** False = there was none. */
  async remove(object: KubeObject, namespace: string): Promise<boolean> {
    const resource = await this.resourceOf(object);
    const where = resource.namespaced ? (object.metadata.namespace ?? namespace) : undefined;
    try {
      await this.#kube.remove(resource, where, object.metadata.name);
      return true;
    } catch (error) {
      if (error instanceof KubeError && error.code === 404) return false;
      throw error;
    }
  }
}
