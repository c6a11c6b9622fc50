// The one door to @kubernetes/client-node. It is loaded when a client is made, not when this file is.
import { Duplex, PassThrough, type Readable } from 'node:stream';
import { type Clock, type Log, type Random } from '../base/index.ts';
import { makeRest } from './rest.ts';
import {
  type KubeClient,
  KubeError,
  type KubeExec,
  type KubeList,
  type KubeObject,
  type PatchKind,
  type Resource,
  resourcePath,
} from './types.ts';
import { ResourceWatch } from './watch.ts';

export interface KubeOptions {
  /** Path of a kubeconfig; absent = `KUBECONFIG`, the user's default, or the pod's own account. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const patchTypes: Record<PatchKind, string> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

const query = (o: Record<string, string | undefined>): string => {
  const q = new URLSearchParams(
    Object.entries(o).filter((e): e is [string, string] => e[1] !== undefined),
  );
  return q.size > 0 ? `?${q.toString()}` : '';
};

/** Throws KubeError with reason `Config` if no usable kubeconfig is found. */
export async function connectKube(options: KubeOptions): Promise<KubeClient> {
  const k8s = await import('@kubernetes/client-node');
  const config = new k8s.KubeConfig();
  try {
    if (options.kubeconfig !== undefined) config.loadFromFile(options.kubeconfig);
    else config.loadFromDefault();
    if (options.context !== undefined) config.setCurrentContext(options.context);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new KubeError(0, 'Config', `cannot read kubeconfig ${options.kubeconfig ?? ''}: ${why}`);
  }
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    throw new KubeError(
      0,
      'Config',
      `no cluster in kubeconfig ${options.kubeconfig ?? '(default)'}`,
    );
  }
  const server = cluster.server.replace(/\/$/, '');
  const rest = makeRest(config, server);
  const { clock, random, log } = options;
  const client: KubeClient = {
    server,
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? 'default',
    raw: (method, path, body, type) => rest.json(method, path, body, type),
    async get(r, namespace, name) {
      try {
        return (await rest.json('GET', resourcePath(r, namespace, name))) as KubeObject;
      } catch (error) {
        if (error instanceof KubeError && error.code === 404) return undefined;
        throw error;
      }
    },
    async list(r, namespace, q = {}): Promise<KubeList> {
      const answer = (await rest.json('GET', resourcePath(r, namespace) + query(q))) as {
        items?: KubeObject[];
        metadata?: { resourceVersion?: string };
      };
      return { items: answer.items ?? [], resourceVersion: answer.metadata?.resourceVersion ?? '' };
    },
    create: (r, o) => write(r, 'POST', resourcePath(r, o.metadata.namespace), o),
    replace: (r, o, sub) =>
      write(r, 'PUT', resourcePath(r, o.metadata.namespace, o.metadata.name, sub), o),
    async patch(r, namespace, name, patch, how) {
      const q = query({
        fieldManager: how.fieldManager,
        force: how.force === true ? 'true' : undefined,
        dryRun: how.dryRun === true ? 'All' : undefined,
      });
      const path = resourcePath(r, namespace, name, how.subresource) + q;
      return (await rest.json('PATCH', path, patch, patchTypes[how.kind])) as KubeObject;
    },
    async remove(r, namespace, name) {
      await rest.json('DELETE', resourcePath(r, namespace, name));
    },
    watch(r, handlers, q) {
      const makeWatch = (c: typeof config): InstanceType<typeof k8s.Watch> => new k8s.Watch(c);
      const deps = { config, makeWatch, rest, clock, random, log, ...q };
      const w = new ResourceWatch(deps, r, handlers);
      return () => w.stop();
    },
    dialPod: (namespace, pod, port) => dialPod(new k8s.PortForward(config), namespace, pod, port),
    exec: (namespace, pod, container, command, stdin) =>
      exec(new k8s.Exec(config), namespace, pod, container, command, stdin),
    async logs(namespace, pod, o): Promise<Readable> {
      const q = query({
        container: o.container,
        follow: o.follow === true ? 'true' : undefined,
        previous: o.previous === true ? 'true' : undefined,
        tailLines: o.tailLines?.toString(),
      });
      return rest.stream(`/api/v1/namespaces/${namespace}/pods/${pod}/log${q}`);
    },
  };
  async function write(
    r: Resource,
    method: string,
    path: string,
    o: KubeObject,
  ): Promise<KubeObject> {
    const apiVersion = r.group === '' ? r.version : `${r.group}/${r.version}`;
    return (await rest.json(method, path, { ...o, apiVersion, kind: r.kind })) as KubeObject;
  }
  return client;
}

type Forwarder = InstanceType<typeof import('@kubernetes/client-node').PortForward>;
type Executor = InstanceType<typeof import('@kubernetes/client-node').Exec>;

async function dialPod(
  forward: Forwarder,
  namespace: string,
  pod: string,
  port: number,
): Promise<Duplex> {
  const incoming = new PassThrough();
  const errors = new PassThrough();
  const outgoing = new PassThrough();
  const stream = Duplex.from({ readable: incoming, writable: outgoing });
  stream.on('error', () => {});
  errors.on('data', (text: Buffer) => stream.destroy(new Error(text.toString('utf8').trim())));
  const socket = await forward.portForward(namespace, pod, [port], incoming, errors, outgoing);
  const ws = typeof socket === 'function' ? socket() : socket;
  ws?.on('close', () => incoming.end());
  ws?.on('error', (error) => stream.destroy(error));
  stream.on('close', () => ws?.close());
  return stream;
}

async function exec(
  executor: Executor,
  namespace: string,
  pod: string,
  container: string | undefined,
  command: readonly string[],
  withStdin: boolean,
): Promise<KubeExec> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const stdin = new PassThrough();
  let settle: (code: number) => void = () => {};
  const exit = new Promise<number>((resolve) => {
    settle = resolve;
  });
  const ws = await executor.exec(
    namespace,
    pod,
    container ?? '',
    [...command],
    stdout,
    stderr,
    withStdin ? stdin : null,
    false,
    (status) => {
      const cause = status.details?.causes?.find((c) => c.reason === 'ExitCode');
      if (status.status === 'Success') settle(0);
      else if (cause?.message !== undefined) settle(Number(cause.message));
      else {
        stderr.write(`${status.message ?? 'exec failed'}\n`);
        settle(1);
      }
    },
  );
  ws.on('close', () => settle(1));
  return { stdout, stderr, stdin, exit };
}
