// istiod-lite as a process of its own with its own account's rights, at an API server of this ring.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCsr } from '../../certs/index.ts';
import { Applier, readManifests } from '../../cli/index.ts';
import {
  KubeError,
  type KubeObject,
  type Resource,
  resourcePath,
  resources,
} from '../../core/kube/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../core/model/index.ts';
import { openChannel } from '../../core/rpc/index.ts';
import type { ApiServer } from '../kit/api-server.ts';
import { eventually } from '../kit/eventually.ts';

export const root = join(import.meta.dirname, '../..');

export const objectsOf = (file: string): KubeObject[] =>
  readManifests(readFileSync(join(root, 'manifests', file), 'utf8'), file);

export async function applyObjects(api: ApiServer, objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects) {
    const { status, ...rest } = object;
    // A kind may have been made a moment ago; each round has a fresh memory of what the server knows.
    const made = await eventually(
      () => new Applier(api.kube).apply(rest, 'default'),
      `${object.kind} ${object.metadata.name}`,
      20_000,
    );
    if (status !== undefined) await api.kube.replace(resources.pods, { ...made, status }, 'status');
  }
}

export const applyYaml = (api: ApiServer, yaml: string): Promise<void> =>
  applyObjects(api, readManifests(yaml, 'story'));

export interface IstiodProcess {
  readonly address: string;
  readonly lines: () => string;
  /** Resources that it would send, by name. */
  resources(): Promise<Map<string, string>>;
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Resolves when it is ready. */
export async function startIstiod(
  api: ApiServer,
  name: string,
  address: string,
): Promise<IstiodProcess> {
  const token = await api.token('istio-system', 'istiod');
  const env = {
    PATH: process.env['PATH'],
    KUBECONFIG: api.kubeconfigOf(name, token),
    POD_NAME: name,
    BIND_ADDRESS: address,
    PILOT_DEBOUNCE_AFTER: '20ms',
    LOG_LEVEL: 'info',
  };
  const child = spawn(process.execPath, [join(root, 'istiod-lite/main.ts')], { env });
  running.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => void (text += part.toString('utf8')));
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    child.kill(signal);
    await gone;
    running.delete(child);
  };
  const fetched = async (path: string): Promise<Response> =>
    fetch(`http://${address}:8080${path}`, { signal: AbortSignal.timeout(5_000) });
  const ready = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(text.slice(-3_000));
    return (await fetched('/ready')).ok;
  };
  try {
    await eventually(ready, `${name} is ready`, 30_000);
  } catch (error) {
    await kill('SIGKILL');
    throw new Error(`${name}: ${text.slice(-3_000)}`, { cause: error });
  }
  return {
    address,
    lines: () => text,
    kill,
    async resources() {
      const all = (await (await fetched('/debug/resources')).json()) as Record<
        string,
        { name: string; version: string }[]
      >;
      return new Map(
        Object.values(all)
          .flat()
          .map((r) => [r.name, r.version]),
      );
    },
  };
}

/** The certificate chain that the control plane gives to the holder of the token. */
export async function certificate(
  api: ApiServer,
  istiod: IstiodProcess,
  token: string,
  impersonated?: string,
): Promise<readonly string[]> {
  const map = await api.kube.get(resources.configMaps, 'istio-system', 'istio-ca-root-cert');
  const pem = (map?.['data'] as Record<string, string> | undefined)?.['root-cert.pem'] ?? '';
  const channel = openChannel({
    address: `${istiod.address}:15012`,
    roots: () => pem,
    serverName: 'istiod.istio-system.svc',
    token: () => token,
    headers: { clusterid: 'Kubernetes' },
  });
  try {
    const { csr } = await createCsr(parseSpiffeId('spiffe://cluster.local/ns/a/sa/b') as SpiffeId);
    const metadata = impersonated !== undefined && {
      fields: { ImpersonatedIdentity: { stringValue: impersonated } },
    };
    const request = { csr, validityDuration: 3600, ...(metadata && { metadata }) };
    return (await channel.unary('createCertificate', request, 5_000)).certChain;
  } finally {
    channel.close();
  }
}

/** Without the grace that a kubelet would wait for. */
export async function removeNow(api: ApiServer, r: Resource, o: KubeObject): Promise<void> {
  const { namespace, name } = o.metadata;
  const path = `${resourcePath(r, namespace, name)}?gracePeriodSeconds=0`;
  await api.kube.raw('DELETE', path).catch((error: unknown) => {
    if (!(error instanceof KubeError && error.code === 404)) throw error;
  });
}

/** Plays the namespace controller, which is not here: deletes what is in it, then the namespace. */
export async function deleteNamespace(api: ApiServer, name: string): Promise<void> {
  await api.kube.remove(resources.namespaces, undefined, name);
  for (const r of Object.values(resources).filter((x) => x.namespaced && x.kind !== 'Event')) {
    const { items } = await api.kube.list(r, name).catch(() => ({ items: [] }));
    for (const o of items) await removeNow(api, r, o);
  }
  const left = await api.kube.get(resources.namespaces, undefined, name);
  if (!left) return;
  const body = { ...left, spec: { finalizers: [] } };
  await api.kube.raw('PUT', `/api/v1/namespaces/${name}/finalize`, body);
}

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** `verb group/resource` of every right. */
const rightsOf = (role: KubeObject): string[] =>
  (role['rules'] as Rule[]).flatMap((r) =>
    r.apiGroups.flatMap((g) =>
      r.resources.flatMap((what) => r.verbs.map((verb) => `${verb} ${g}/${what}`)),
    ),
  );

/**
 * What an account of the mesh has asked of a real API server so far, beside the roles among `objects`. Both lists are
 * empty if it asks for all it may and may all it asks for: then a verb less is a request without a right.
 */
export function compareRights(
  api: ApiServer,
  account: string,
  objects: readonly KubeObject[],
): { readonly missing: readonly string[]; readonly unused: readonly string[] } {
  const rights = objects.flatMap((o) => (o.kind?.endsWith('Role') ? rightsOf(o) : []));
  const used = new Set<string>();
  const refused = new Set<string>();
  const answered = new Set<string>();
  for (const { user, verb, objectRef: r, responseStatus } of api.audit()) {
    if (user?.username !== `system:serviceaccount:istio-system:${account}` || !r) continue;
    const resource = `${r.resource ?? ''}${r.subresource ? `/${r.subresource}` : ''}`;
    const what = `${r.apiGroup ?? ''}/${resource}`;
    const { code } = responseStatus ?? {};
    const exact = `${verb} ${what} ${r.namespace ?? ''}/${r.name ?? ''}`;
    if (code === 403) refused.add(exact);
    else {
      used.add(`${verb} ${what}`);
      answered.add(exact);
    }
    // Server-side apply of what is not there asks for both.
    if (verb === 'patch' && code === 201) used.add(`create ${what}`);
  }
  return {
    // An API server that has just started refuses what it will allow when it has read the roles.
    missing: [...refused].filter((x) => !answered.has(x)),
    unused: rights.filter((r) => !used.has(r)),
  };
}
