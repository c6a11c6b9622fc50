// `GET …/pods/NAME/log`: the runtime's stream as it comes.
import { pipeline } from 'node:stream/promises';
import { notFound, statusError } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { at, list, record, text } from './json.ts';
import type { KubeObject } from '../contract.ts';

function count(query: URLSearchParams, name: string): number | undefined {
  const raw = query.get(name);
  if (raw === null || raw === '') return undefined;
  const value = Number(raw);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw statusError(400, 'BadRequest', `query parameter ${name} is not a whole number: ${raw}`);
}

const flag = (query: URLSearchParams, name: string): boolean | undefined =>
  query.has(name) ? query.get(name) === 'true' : undefined;

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept = Object.entries(values).filter(([, v]) => v !== undefined && v !== null);
  return Object.fromEntries(kept) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** The container asked for, or the only one. Throws 400 naming the choices. */
export function containerOf(pod: KubeObject, asked: string | null): string {
  const names = [
    ...list(at(pod, 'spec', 'containers')),
    ...list(at(pod, 'spec', 'initContainers')),
  ].map((c) => text(record(c)['name']));
  const { name } = pod.metadata;
  if (asked) {
    if (names.includes(asked)) return asked;
    throw statusError(400, 'BadRequest', `container ${asked} is not valid for pod ${name}`);
  }
  const only = list(at(pod, 'spec', 'containers')).map((c) => text(record(c)['name']));
  if (only.length === 1 && only[0]) return only[0];
  const preferred = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
  if (preferred && only.includes(preferred)) return preferred;
  throw statusError(
    400,
    'BadRequest',
    `a container name must be specified for pod ${name}, choose one of: [${only.join(' ')}]`,
  );
}

export function podOf(api: ApiContext, call: Call): KubeObject {
  const pod = api.store.get('v1/pods', call.namespace, call.name ?? '');
  if (!pod) throw notFound(call.info, call.name ?? '');
  return pod;
}

export async function sendLogs(api: ApiContext, call: Call): Promise<void> {
  const { query, response } = call;
  const container = containerOf(podOf(api, call), query.get('container'));
  const stream = api.runtime.logs(
    call.namespace ?? '',
    call.name ?? '',
    defined({
      container,
      follow: flag(query, 'follow'),
      timestamps: flag(query, 'timestamps'),
      previous: flag(query, 'previous'),
      tailLines: count(query, 'tailLines'),
      sinceSeconds: count(query, 'sinceSeconds'),
      sinceTime: query.get('sinceTime') ?? undefined,
      limitBytes: count(query, 'limitBytes'),
    }),
  );
  response.writeHead(200, { 'content-type': 'text/plain', 'cache-control': 'no-cache, private' });
  response.flushHeaders();
  try {
    await pipeline(stream, response);
  } catch {
    // A follower that goes away ends the stream: nothing to tell anybody.
    stream.destroy();
  }
}
