// The small subresources: scale, eviction, and a namespace's finalize.
import type { KubeObject } from '../contract.ts';
import { apiVersionOf, conflict, notFound, statusError } from '../store/index.ts';
import { decodeBody, mediaType, readBody } from './body.ts';
import type { ApiContext, Call } from './context.ts';
import { invalid, invalidFault } from './faults.ts';
import { at, isRecord, list, number, record, text } from './json.ts';
import { readPath, writePath } from './json-path.ts';
import { jsonPatch, mergePatch } from './merge-patch.ts';
import { writeAsk } from './query.ts';
import { sendJson } from './respond.ts';

interface ScalePaths {
  readonly spec: string;
  readonly status: string;
  readonly selector: string;
}

const builtinPaths: ScalePaths = {
  spec: '.spec.replicas',
  status: '.status.replicas',
  selector: '',
};

function printLabels(selector: unknown): string {
  return Object.entries(record(at(selector, 'matchLabels')))
    .map(([k, v]) => `${k}=${text(v)}`)
    .join(',');
}

function scaleOf(call: Call, object: KubeObject): Record<string, unknown> {
  const paths = call.info.custom?.scale ?? builtinPaths;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector
    ? text(readPath(object, paths.selector))
    : printLabels(at(object, 'spec', 'selector'));
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: number(readPath(object, paths.spec)) ?? 0 },
    status: { replicas: number(readPath(object, paths.status)) ?? 0, selector },
  };
}

function owner(api: ApiContext, call: Call): KubeObject {
  const object = api.store.get(call.key, call.namespace, call.name ?? '');
  if (!object) throw notFound(call.info, call.name ?? '');
  return object;
}

export async function scale(api: ApiContext, call: Call): Promise<void> {
  const method = call.request.method ?? 'GET';
  if (method === 'GET') return sendJson(call.response, 200, scaleOf(call, owner(api, call)));
  if (method !== 'PUT' && method !== 'PATCH') throw notAllowed();
  const type = mediaType(call.request);
  const body = decodeBody(
    method === 'PUT' ? type : 'application/json',
    await readBody(call.request),
  );
  const object = owner(api, call);
  const before = scaleOf(call, object);
  const after =
    method === 'PUT'
      ? body
      : type === 'application/json-patch+json'
        ? jsonPatch(before, body)
        : mergePatch(before, body);
  const version = at(after, 'metadata', 'resourceVersion');
  if (
    typeof version === 'string' &&
    version !== '' &&
    version !== object.metadata.resourceVersion
  ) {
    throw conflict(
      call.info,
      object.metadata.name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  }
  const replicas = number(at(after, 'spec', 'replicas')) ?? 0;
  if (!Number.isSafeInteger(replicas) || replicas < 0) {
    throw invalid({ group: 'autoscaling', kind: 'Scale' }, object.metadata.name, [
      invalidFault('spec.replicas', replicas, 'must be greater than or equal to 0'),
    ]);
  }
  const path = (call.info.custom?.scale ?? builtinPaths).spec;
  writePath(object, path, replicas);
  const stored = writeAsk(call.query).dryRun ? object : api.store.update(call.key, object);
  sendJson(call.response, 200, scaleOf(call, stored));
}

export async function evict(api: ApiContext, call: Call): Promise<void> {
  if (call.request.method !== 'POST') throw notAllowed();
  const body = decodeBody(mediaType(call.request), await readBody(call.request));
  owner(api, call);
  const grace = number(at(body, 'deleteOptions', 'gracePeriodSeconds'));
  if (!writeAsk(call.query).dryRun) {
    api.store.discard(
      call.key,
      call.namespace,
      call.name ?? '',
      grace === undefined ? {} : { graceSeconds: grace },
    );
  }
  sendJson(call.response, 201, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
  });
}

/** PUT of a namespace without `spec.finalizers`: nothing holds it any more. */
export async function finalize(api: ApiContext, call: Call): Promise<void> {
  if (call.request.method !== 'PUT') throw notAllowed();
  const body = decodeBody(mediaType(call.request), await readBody(call.request));
  const namespace = owner(api, call);
  const finalizers = isRecord(body) ? list(at(body, 'spec', 'finalizers')) : [];
  const stored = api.store.update(call.key, {
    ...namespace,
    spec: { ...record(namespace['spec']), finalizers },
  });
  if (finalizers.length === 0 && stored.metadata.deletionTimestamp !== undefined) {
    api.store.discard(call.key, undefined, stored.metadata.name, { graceSeconds: 0 });
  }
  sendJson(call.response, 200, { ...stored, apiVersion: apiVersionOf(call.info) });
}

export function notAllowed(): Error {
  return statusError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
  );
}
