// The mesh's own manifests: read, patched for the sandbox, and applied through the sandbox's API as
// any user would.
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from './contract.ts';
import { apiVersionOf, type Registry } from './store/index.ts';

interface Patch {
  readonly kind: string;
  readonly name: string;
  /** Only with this driver; otherwise with both. */
  readonly driver?: string;
  readonly patch: unknown;
}

/** RFC 7396: null removes, objects merge, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const out: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = mergePatch(out[key], value);
  }
  return out;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function documents(file: string): unknown[] {
  const parsed = parseAllDocuments(fs.readFileSync(file, 'utf8'));
  return parsed.map((document) => {
    const [error] = document.errors;
    if (error) throw new Error(`${file}: ${error.message}`);
    return document.toJS() as unknown;
  });
}

function objectsIn(folder: string): KubeObject[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
    .toSorted()
    .flatMap((name) => documents(path.join(folder, name)))
    .filter((o) => isRecord(o) && typeof o['kind'] === 'string') as unknown as KubeObject[];
}

export interface Manifests {
  readonly crds: readonly KubeObject[];
  readonly mesh: readonly KubeObject[];
}

/** Namespaces first, so that what is in them can be created. */
const order = (o: KubeObject): number =>
  o.kind === 'Namespace' ? 0 : o.kind === 'ServiceAccount' ? 1 : 2;

export function readManifests(root: string, driver?: 'loopback' | 'netns'): Manifests {
  const patchFile = path.join(root, 'sandbox', 'patches.yaml');
  const patches = (fs.existsSync(patchFile) ? documents(patchFile).flat() : []) as Patch[];
  const mesh = objectsIn(path.join(root, 'base')).map((object) => {
    const fits = patches.filter(
      (p) =>
        p.kind === object.kind &&
        p.name === object.metadata.name &&
        (p.driver === undefined || p.driver === driver),
    );
    return fits.reduce<unknown>((o, p) => mergePatch(o, p.patch), object) as KubeObject;
  });
  return {
    crds: objectsIn(path.join(root, 'crds')),
    mesh: mesh.toSorted((a, b) => order(a) - order(b)),
  };
}

export interface ApiAccess {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
}

/** Server-side apply of each object, in order. Throws with the API's own message. */
export async function applyObjects(
  objects: readonly KubeObject[],
  registry: Registry,
  access: ApiAccess,
): Promise<void> {
  const agent = new https.Agent({ ca: access.caPem, keepAlive: true });
  try {
    for (const object of objects) await applyOne(object, registry, access, agent);
  } finally {
    agent.destroy();
  }
}

const requestMs = 10_000;

function applyOne(
  object: KubeObject,
  registry: Registry,
  access: ApiAccess,
  agent: https.Agent,
): Promise<void> {
  const what = `${object.kind} ${object.metadata.name}`;
  const info = registry.byKind(object.apiVersion, object.kind);
  if (!info) return Promise.reject(new Error(`${what}: the API has no such kind`));
  const version = apiVersionOf(info);
  const scope = info.namespaced ? `/namespaces/${object.metadata.namespace ?? 'default'}` : '';
  const prefix = version.includes('/') ? 'apis' : 'api';
  const place = `/${prefix}/${version}${scope}/${info.plural}/${object.metadata.name}`;
  return new Promise((done, fail) => {
    const request = https.request(new URL(`${place}?fieldManager=sandbox&force=true`, access.url), {
      method: 'PATCH',
      agent,
      headers: {
        authorization: `Bearer ${access.token}`,
        'content-type': 'application/apply-patch+yaml',
      },
      signal: AbortSignal.timeout(requestMs),
    });
    request.on('error', (error) => fail(new Error(`${what}: ${error.message}`)));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('error', fail);
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        if ((response.statusCode ?? 500) < 300) return done();
        fail(new Error(`${what}: ${Buffer.concat(chunks).toString('utf8').slice(0, 500)}`));
      });
    });
    request.end(JSON.stringify(object));
  });
}
