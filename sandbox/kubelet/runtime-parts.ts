// Small parts of the kubelet's runtime: which container is meant, what volumes and variables look
// up, a command that could not be started.
import { PassThrough } from 'node:stream';
import type { ExecSession, Store } from '../contract.ts';
import { type Container, keys, type Pod } from '../objects.ts';
import { statusError } from '../store/index.ts';
import type { Lookups } from './environment.ts';

export function pickContainer(pod: Pod, name: string | undefined): Container {
  const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  const chosen = name ?? pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
  const container = chosen === undefined ? all[0] : all.find((c) => c.name === chosen);
  if (container) return container;
  const why = `container ${chosen ?? ''} is not valid for pod ${pod.metadata.name}`;
  throw statusError(400, 'BadRequest', why);
}

export function lookupsIn(store: Store, namespace: string): Lookups {
  const read = (resource: string, name: string, decode: boolean) => {
    const object = store.get(resource, namespace, name);
    if (!object) return undefined;
    const out = new Map<string, string>();
    const fill = (field: string, base64: boolean): void => {
      for (const [key, value] of Object.entries((object[field] ?? {}) as Record<string, string>)) {
        out.set(key, base64 ? Buffer.from(value, 'base64').toString('utf8') : value);
      }
    };
    fill('data', decode);
    fill('binaryData', true);
    fill('stringData', false);
    return out;
  };
  return {
    configMap: (name) => read(keys.configMaps, name, false),
    secret: (name) => read(keys.secrets, name, true),
  };
}

/** A command that could not be started, as a session that says so and ends with 127. */
export function notStarted(message: string): ExecSession {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  stdout.end();
  stderr.end(`${message}\n`);
  return {
    stdin: new PassThrough().resume(),
    stdout,
    stderr,
    exit: Promise.resolve(127),
    kill: () => {},
  };
}
