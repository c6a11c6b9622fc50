// What a write means in Kubernetes, as functions from object to object: the metadata a new object
// gets, what a replacement may change, what deletion does first. The store writes the outcome.
import { isDeepStrictEqual } from 'node:util';
import type { KubeObject, ObjectMeta } from '../contract.ts';
import { apiVersionOf, crdKey, namespaceKey, podKey, type ResourceInfo } from './registry.ts';

export interface Stamp {
  readonly name: string;
  readonly uid: string;
  /** RFC 3339, whole seconds. */
  readonly time: string;
}

const withoutGeneration = new Set(['Namespace', 'Node', 'Service', 'Lease']);

/** apiVersion, kind and metadata first: the stored text always starts with `{"apiVersion":"`. */
function assemble(info: ResourceInfo, metadata: ObjectMeta, rest: object): KubeObject {
  const { apiVersion: _a, kind: _k, metadata: _m, ...fields } = rest as KubeObject;
  const stored = { group: info.group, version: info.storageVersion };
  return { apiVersion: apiVersionOf(stored), kind: info.kind, metadata, ...fields };
}

function cleanMeta(metadata: ObjectMeta): ObjectMeta {
  const { managedFields: _f, selfLink: _s, resourceVersion: _r, ...kept } = metadata;
  return kept as ObjectMeta;
}

/** A new object as it will be stored, but for its resourceVersion. */
export function created(info: ResourceInfo, object: KubeObject, stamp: Stamp): KubeObject {
  const {
    deletionTimestamp: _d,
    deletionGracePeriodSeconds: _g,
    generation: _n,
    namespace,
    ...given
  } = cleanMeta(object.metadata);
  const metadata: ObjectMeta = {
    ...given,
    name: stamp.name,
    ...(info.namespaced && namespace !== undefined ? { namespace } : {}),
    uid: stamp.uid,
    creationTimestamp: stamp.time,
    ...('spec' in object && !withoutGeneration.has(info.kind) ? { generation: 1 } : {}),
  };
  const out = assemble(info, metadata, object);
  return info.key === crdKey ? establish(out, stamp.time) : out;
}

/** What stays whatever a writer says. */
function keptMeta(old: ObjectMeta): Partial<ObjectMeta> {
  const kept: Partial<ObjectMeta> = { name: old.name };
  for (const field of [
    'namespace',
    'uid',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
  ] as const) {
    if (old[field] !== undefined) (kept as Record<string, unknown>)[field] = old[field];
  }
  return kept;
}

const dropped = new Set([
  'name',
  'namespace',
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generation',
]);

function replacedMeta(old: ObjectMeta, given: ObjectMeta): ObjectMeta {
  const own = Object.entries(cleanMeta(given)).filter(([k]) => !dropped.has(k));
  return { ...Object.fromEntries(own), ...keptMeta(old) } as ObjectMeta;
}

/** The stored object after a replacement; `old` itself when nothing changed. */
export function replaced(
  info: ResourceInfo,
  old: KubeObject,
  object: KubeObject,
  status: boolean,
): KubeObject {
  const next = status ? withStatus(info, old, object) : withSpec(info, old, object);
  const before = { ...old, metadata: cleanMeta(old.metadata) };
  const after = { ...next, metadata: cleanMeta(next.metadata) };
  return isDeepStrictEqual(plain(before), plain(after)) ? old : next;
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function withStatus(info: ResourceInfo, old: KubeObject, object: KubeObject): KubeObject {
  const metadata = { ...old.metadata };
  for (const field of ['labels', 'annotations'] as const) {
    const value = object.metadata[field];
    if (value !== undefined) metadata[field] = value;
  }
  const { status: _old, ...rest } = old;
  const status = object['status'];
  return assemble(info, metadata, status === undefined ? rest : { ...rest, status });
}

function withSpec(info: ResourceInfo, old: KubeObject, object: KubeObject): KubeObject {
  const metadata = replacedMeta(old.metadata, object.metadata);
  const { metadata: _m, status, ...fields } = object;
  const ownStatus = info.subresources.includes('status');
  const kept = ownStatus ? old['status'] : status;
  const body = kept === undefined ? fields : { ...fields, status: kept };
  if (old.metadata.generation !== undefined && !isDeepStrictEqual(content(old), content(body))) {
    metadata.generation = old.metadata.generation + 1;
  }
  const out = assemble(info, metadata, body);
  return info.key === crdKey ? establish(out, old.metadata.creationTimestamp ?? '') : out;
}

function content(object: object): unknown {
  const { apiVersion: _a, kind: _k, metadata: _m, status: _s, ...rest } = object as KubeObject;
  return plain(rest);
}

/** A CRD is served from the moment it is stored, so it says so. */
function establish(crd: KubeObject, time: string): KubeObject {
  const spec = crd['spec'] as Record<string, unknown> | undefined;
  const versions = (spec?.['versions'] ?? []) as { name: string; storage?: boolean }[];
  const condition = (type: string, reason: string, message: string) => ({
    type,
    status: 'True',
    lastTransitionTime: time,
    reason,
    message,
  });
  return {
    ...crd,
    status: {
      conditions: [
        condition('NamesAccepted', 'NoConflicts', 'no conflicts found'),
        condition('Established', 'InitialNamesAccepted', 'the initial names have been accepted'),
      ],
      acceptedNames: spec?.['names'],
      storedVersions: versions.filter((v) => v.storage === true).map((v) => v.name),
    },
  };
}

/** True when a marked object has nothing left to wait for. */
export function isFinished(object: KubeObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  if (deletionTimestamp === undefined || (finalizers?.length ?? 0) > 0) return false;
  // A namespace ends only by its controller's second remove().
  if (object.kind === 'Namespace' && object.apiVersion === 'v1') return false;
  return (deletionGracePeriodSeconds ?? 0) === 0;
}

function graceOf(info: ResourceInfo, object: KubeObject, asked: number | undefined): number {
  if (info.key !== podKey) return 0;
  const spec = object['spec'] as
    | { nodeName?: string; terminationGracePeriodSeconds?: number }
    | undefined;
  const phase = (object['status'] as { phase?: string } | undefined)?.phase;
  if (!spec?.nodeName || phase === 'Succeeded' || phase === 'Failed') return 0;
  return Math.max(0, asked ?? spec.terminationGracePeriodSeconds ?? 30);
}

/** The object as marked for deletion (`old` itself if already so), or `gone` when nothing holds it. */
export function deleted(
  info: ResourceInfo,
  old: KubeObject,
  asked: number | undefined,
  nowMs: number,
): { readonly gone: boolean; readonly object: KubeObject } {
  const grace = graceOf(info, old, asked);
  const held = (old.metadata.finalizers?.length ?? 0) > 0;
  const marked = old.metadata.deletionTimestamp !== undefined;
  if (info.key === namespaceKey) {
    if (marked && asked === 0 && !held) return { gone: true, object: old };
    return { gone: false, object: marked ? old : terminating(old, nowMs) };
  }
  if (grace === 0 && !held) return { gone: true, object: old };
  const before = old.metadata.deletionGracePeriodSeconds ?? 0;
  if (marked && grace >= before) return { gone: false, object: old };
  const metadata = {
    ...old.metadata,
    deletionTimestamp: isoSeconds(nowMs + grace * 1000),
    deletionGracePeriodSeconds: grace,
  };
  return { gone: false, object: { ...old, metadata } };
}

function terminating(namespace: KubeObject, nowMs: number): KubeObject {
  const status = (namespace['status'] ?? {}) as object;
  return {
    ...namespace,
    metadata: { ...namespace.metadata, deletionTimestamp: isoSeconds(nowMs) },
    status: { ...status, phase: 'Terminating' },
  };
}

/** `2026-01-01T00:00:00Z`. */
export function isoSeconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
