// POST, PUT, PATCH and DELETE of objects: decode, admit, store.
import type { KubeObject } from '../contract.ts';
import {
  alreadyExists,
  apiVersionOf,
  conflict,
  isoSeconds,
  notFound,
  statusError,
} from '../store/index.ts';
import { admitChange, admitNew, admitStatus, type Admitted, type Target } from './admit.ts';
import { decodeBody, mediaType, readBody } from './body.ts';
import type { ApiContext, Call } from './context.ts';
import { isRecord, type MutableJson, record } from './json.ts';
import { jsonPatch, mergePatch } from './merge-patch.ts';
import { deleteAsk, type DeleteAsk, listAsk, writeAsk, type WriteAsk } from './query.ts';
import { sendObject } from './read.ts';
import { sendJson } from './respond.ts';
import { shapeOf } from './shape-check.ts';
import { applyPatch, strategicPatch } from './strategic-patch.ts';

const targetOf = (call: Call): Target => ({
  info: call.info,
  namespace: call.namespace,
  name: call.name,
});

/** Kubernetes says NotFound for a namespace that is not there, Forbidden for one that is ending. */
function checkNamespace(api: ApiContext, call: Call): void {
  if (!call.info.namespaced || call.namespace === undefined) return;
  const namespace = api.store.get('v1/namespaces', undefined, call.namespace);
  if (!namespace) throw notFound({ group: '', plural: 'namespaces' }, call.namespace);
  if (namespace.metadata.deletionTimestamp === undefined) return;
  throw statusError(
    403,
    'Forbidden',
    `unable to create new content in namespace ${call.namespace} because it is being terminated`,
    {
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${call.namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    },
  );
}

export async function create(api: ApiContext, call: Call): Promise<void> {
  const body = await readBody(call.request);
  const ask = writeAsk(call.query);
  const raw = decodeBody(mediaType(call.request), body);
  createFrom(api, call, raw, ask, 201);
}

function createFrom(api: ApiContext, call: Call, raw: unknown, ask: WriteAsk, code: number): void {
  checkNamespace(api, call);
  const { object, warnings } = admitNew(targetOf(call), raw, ask.validation);
  if (ask.dryRun) return sendObject(api, call, code, dryCreate(api, call, object), warnings);
  const made = api.store.create(call.key, object);
  const { name } = made.metadata;
  sendObject(api, call, code, api.store.text(call.key, call.namespace, name) ?? '', warnings);
}

function dryCreate(api: ApiContext, call: Call, object: KubeObject): string {
  const name = object.metadata.name || `${object.metadata.generateName ?? ''}dry-run`;
  if (api.store.text(call.key, call.namespace, name) !== undefined) {
    throw alreadyExists(call.info, name);
  }
  const uid = '00000000-0000-4000-8000-000000000000';
  const metadata = { ...object.metadata, name, uid, creationTimestamp: isoSeconds(api.now()) };
  return JSON.stringify({ ...object, metadata });
}

function current(api: ApiContext, call: Call): KubeObject {
  const { name = '' } = call;
  const old = api.store.get(call.key, call.namespace, name);
  if (!old) throw notFound(call.info, name);
  return old;
}

export async function replace(api: ApiContext, call: Call): Promise<void> {
  const body = await readBody(call.request);
  const raw = decodeBody(mediaType(call.request), body);
  put(api, call, current(api, call), raw, writeAsk(call.query));
}

/** Stores a replacement of `old`, of the whole or of its status. */
function put(api: ApiContext, call: Call, old: KubeObject, raw: unknown, ask: WriteAsk): void {
  const status = call.sub === 'status';
  const target = targetOf(call);
  const { object, warnings }: Admitted = status
    ? admitStatus(target, raw, ask.validation)
    : admitChange(target, old, raw, ask.validation);
  const version = object.metadata.resourceVersion;
  if (version && version !== old.metadata.resourceVersion) {
    throw conflict(
      call.info,
      old.metadata.name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  }
  if (ask.dryRun) {
    const metadata = { ...old.metadata, ...object.metadata };
    const body = status ? { ...old, status: object['status'] } : withOldStatus(call, old, object);
    return sendObject(api, call, 200, JSON.stringify({ ...body, metadata }), warnings);
  }
  const stored = api.store.update(call.key, object, { status });
  sendObject(api, call, 200, inForm(call, stored), warnings);
}

function withOldStatus(call: Call, old: KubeObject, object: KubeObject): KubeObject {
  if (!call.info.subresources.includes('status') || old['status'] === undefined) return object;
  return { ...object, status: old['status'] };
}

function inForm(call: Call, object: KubeObject): string {
  return JSON.stringify({ ...object, apiVersion: apiVersionOf(call.info) });
}

type PatchKind = 'merge' | 'strategic' | 'json' | 'apply';

const patchKinds: Readonly<Record<string, PatchKind>> = {
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/json-patch+json': 'json',
  'application/apply-patch+yaml': 'apply',
};

function patchKind(call: Call): PatchKind {
  const type = mediaType(call.request);
  const kind = Object.hasOwn(patchKinds, type) ? patchKinds[type] : undefined;
  if (kind === undefined || (kind === 'strategic' && call.info.custom)) {
    throw statusError(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: ${Object.keys(patchKinds).join(', ')}`,
    );
  }
  return kind;
}

function patched(call: Call, kind: PatchKind, old: KubeObject, patch: unknown): unknown {
  const shape = shapeOf(apiVersionOf(call.info), call.info.kind);
  switch (kind) {
    case 'merge':
      return mergePatch(old, patch);
    case 'json':
      return jsonPatch(old, patch);
    case 'apply':
      return applyPatch(shape, old, patch);
    case 'strategic':
      return shape ? strategicPatch(shape, old, patch) : mergePatch(old, patch);
  }
}

export async function patch(api: ApiContext, call: Call): Promise<void> {
  const kind = patchKind(call);
  const body = await readBody(call.request);
  const ask = writeAsk(call.query);
  const change = decodeBody(kind === 'apply' ? 'application/yaml' : 'application/json', body);
  const old = api.store.get(call.key, call.namespace, call.name ?? '');
  if (!old) {
    if (kind !== 'apply' || call.sub !== undefined) throw notFound(call.info, call.name ?? '');
    return createFrom(api, call, applyPatch(undefined, {}, change), ask, 201);
  }
  const next = patched(call, kind, old, change);
  const given = isRecord(change) ? record(change['metadata'])['resourceVersion'] : undefined;
  put(api, call, old, withVersion(next, kind, given), ask);
}

/** A patch is a condition on the version only if it names one; otherwise it applies to what is there. */
function withVersion(next: unknown, kind: PatchKind, given: unknown): unknown {
  if (!isRecord(next) || !isRecord(next['metadata'])) return next;
  const metadata: MutableJson = { ...next['metadata'] };
  if (kind !== 'json') {
    if (given === undefined) delete metadata['resourceVersion'];
    else metadata['resourceVersion'] = given;
  }
  return { ...next, metadata };
}

export async function remove(api: ApiContext, call: Call): Promise<void> {
  const body = await readBody(call.request);
  const ask = deleteAsk(call.query, mediaType(call.request), body);
  const old = current(api, call);
  if (ask.resourceVersion && ask.resourceVersion !== old.metadata.resourceVersion) {
    throw conflict(call.info, old.metadata.name, 'the resourceVersion precondition does not hold');
  }
  const outcome = ask.dryRun ? { object: old, gone: true } : discard(api, call, old, ask);
  if (outcome && !outcome.gone) return sendObject(api, call, 200, inForm(call, outcome.object));
  const { name, uid } = old.metadata;
  const details = { name, group: call.info.group, kind: call.info.plural, uid };
  sendJson(call.response, 200, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details,
  });
}

function discard(api: ApiContext, call: Call, old: KubeObject, ask: DeleteAsk) {
  // Only a namespace's controller ends it: grace 0 means something else to clients.
  const grace = call.info.key === 'v1/namespaces' ? undefined : ask.graceSeconds;
  return api.store.discard(call.key, old.metadata.namespace, old.metadata.name, {
    ...(grace === undefined ? {} : { graceSeconds: grace }),
    ...(ask.uid ? { uid: ask.uid } : {}),
    ...(ask.propagation ? { propagation: ask.propagation } : {}),
  });
}

export async function removeAll(api: ApiContext, call: Call): Promise<void> {
  const body = await readBody(call.request);
  const ask = deleteAsk(call.query, mediaType(call.request), body);
  const { query } = listAsk(call.query, call.namespace);
  const { items, revision } = api.store.list(call.key, query);
  if (!ask.dryRun) for (const item of items) discard(api, call, item, ask);
  sendJson(call.response, 200, {
    kind: call.info.listKind,
    apiVersion: apiVersionOf(call.info),
    metadata: { resourceVersion: `${revision}` },
    items,
  });
}
