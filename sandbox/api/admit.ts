// From a client's object to one that may be stored: decode strictly, fill defaults, check. The only
// way of client data into the store.
import type { KubeObject } from '../contract.ts';
import { apiVersionOf, type ResourceInfo, statusError } from '../store/index.ts';
import { checkCustom } from './custom-check.ts';
import { fillDefaults, firstStatus } from './defaults.ts';
import { type FieldFault, invalid, notDecodable } from './faults.ts';
import { isRecord, type MutableJson, record, text } from './json.ts';
import { changeFaults, objectFaults } from './object-rules.ts';
import { checkShape, shapeOf } from './shape-check.ts';

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

export interface Target {
  readonly info: ResourceInfo;
  readonly namespace: string | undefined;
  /** The name in the URL; undefined for POST. */
  readonly name: string | undefined;
}

export interface Admitted {
  readonly object: KubeObject;
  /** For `Warning` headers. */
  readonly warnings: readonly string[];
}

/** Throws 400 when the object is not of the kind, namespace or name the URL speaks of. */
function checkPlace(object: MutableJson, { info, namespace, name }: Target): void {
  const expected = apiVersionOf(info);
  // Kubernetes takes them from the URL when typed clients leave them out.
  object['apiVersion'] ||= expected;
  object['kind'] ||= info.kind;
  const given = text(object['apiVersion']);
  const kind = text(object['kind']);
  if (given !== expected || kind !== info.kind) {
    throw statusError(
      400,
      'BadRequest',
      `the API version and kind in the data (${given}, ${kind}) do not match the expected ones (${expected}, ${info.kind})`,
    );
  }
  if (object['metadata'] !== undefined && !isRecord(object['metadata'])) {
    throw notDecodable(info, ['metadata: must be of type object'], false);
  }
  const metadata = { ...record(object['metadata']) };
  object['metadata'] = metadata;
  if (name !== undefined) {
    metadata['name'] ||= name;
    if (metadata['name'] !== name) {
      throw statusError(
        400,
        'BadRequest',
        `the name of the object (${text(metadata['name'])}) does not match the name on the URL (${name})`,
      );
    }
  }
  if (!info.namespaced) delete metadata['namespace'];
  else if (namespace !== undefined) {
    metadata['namespace'] ||= namespace;
    if (metadata['namespace'] !== namespace) {
      throw statusError(
        400,
        'BadRequest',
        'the namespace of the provided object does not match the namespace sent on the request',
      );
    }
  }
}

interface Decoded {
  readonly value: MutableJson;
  readonly unknown: readonly string[];
  readonly faults: readonly FieldFault[];
}

function decode(info: ResourceInfo, object: MutableJson): Decoded {
  if (info.custom) {
    const meta = checkShape('V1ObjectMeta', object['metadata']);
    if (meta.mistyped.length > 0)
      throw notDecodable(info, print(meta.mistyped, 'metadata.'), false);
    const { value, unknown, faults } = checkCustom(info.custom.schema, {
      ...object,
      metadata: meta.value,
    });
    return {
      value: record(value),
      unknown: [...meta.unknown.map((u) => `metadata.${u}`), ...unknown],
      faults,
    };
  }
  const shape = shapeOf(apiVersionOf(info), info.kind);
  if (!shape) return { value: object, unknown: [], faults: [] };
  const checked = checkShape(shape, object);
  if (checked.mistyped.length > 0) throw notDecodable(info, print(checked.mistyped, ''), false);
  return { value: record(checked.value), unknown: checked.unknown, faults: checked.missing };
}

const print = (faults: readonly FieldFault[], lead: string): string[] =>
  faults.map((f) => `${lead}${f.field}: ${f.message}`);

function unknownFields(
  info: ResourceInfo,
  unknown: readonly string[],
  validation: FieldValidation,
): string[] {
  const words = unknown.map((u) => `unknown field "${u}"`);
  if (words.length > 0 && validation === 'Strict') throw notDecodable(info, words, true);
  return validation === 'Warn' ? words : [];
}

/** Checks a new object. Throws 400 or 422 naming the fields; what comes back may be stored. */
export function admitNew(target: Target, raw: unknown, validation: FieldValidation): Admitted {
  const { object, warnings } = admit(target, raw, validation);
  const first = target.info.kind === 'Node' ? undefined : firstStatus(object);
  if (first && target.info.subresources.includes('status')) {
    if (Object.keys(first).length === 0 && target.info.custom) delete object['status'];
    else object['status'] = first;
  }
  return { object, warnings };
}

/** Checks a replacement of `old`. */
export function admitChange(
  target: Target,
  old: KubeObject,
  raw: unknown,
  validation: FieldValidation,
): Admitted {
  const { object, warnings } = admit(target, raw, validation, old);
  // Controllers store objects without the defaults that were just filled in: no change by the client.
  const before = structuredClone(old);
  fillDefaults(before as unknown as MutableJson);
  const faults = changeFaults(target.info, before, object);
  if (faults.length > 0) throw invalid(target.info, old.metadata.name, faults);
  return { object, warnings };
}

/** Checks a write to the status subresource: only types and CRD schema. */
export function admitStatus(target: Target, raw: unknown, validation: FieldValidation): Admitted {
  const object = asObject(raw);
  checkPlace(object, target);
  const { value, unknown, faults } = decode(target.info, object);
  const warnings = unknownFields(target.info, unknown, validation);
  const own = faults.filter((f) => f.field.startsWith('status'));
  if (own.length > 0) throw invalid(target.info, text(record(value['metadata'])['name']), own);
  return { object: value as unknown as KubeObject, warnings };
}

function asObject(raw: unknown): MutableJson {
  if (!isRecord(raw)) throw statusError(400, 'BadRequest', 'the body is not an object');
  return { ...raw };
}

function admit(
  target: Target,
  raw: unknown,
  validation: FieldValidation,
  old?: KubeObject,
): { object: KubeObject; warnings: string[] } {
  const object = asObject(raw);
  checkPlace(object, target);
  const { value, unknown, faults } = decode(target.info, object);
  const warnings = unknownFields(target.info, unknown, validation);
  if (old) keepAssigned(target.info, old, value);
  fillDefaults(value);
  const name = text(record(value['metadata'])['name']) || (target.name ?? '');
  // What such a write says of a status that has its own path is not taken, so it is not judged either.
  const apart = target.info.subresources.includes('status');
  const own = apart ? faults.filter((f) => !f.field.startsWith('status.')) : faults;
  const named = new Set(own.map((f) => f.field));
  const all = [...own, ...objectFaults(target.info, value).filter((f) => !named.has(f.field))];
  if (all.length > 0) throw invalid(target.info, name, all);
  return { object: value as unknown as KubeObject, warnings };
}

/** A PUT may leave out what the cluster assigned. */
function keepAssigned(info: ResourceInfo, old: KubeObject, value: MutableJson): void {
  if (info.key === 'v1/pods') carry(old, value, ['nodeName']);
  if (info.key === 'v1/services')
    carry(old, value, ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']);
}

function carry(old: KubeObject, value: MutableJson, fields: readonly string[]): void {
  const before = record(old['spec']);
  const spec = { ...record(value['spec']) };
  for (const field of fields) if (Object.hasOwn(before, field)) spec[field] ??= before[field];
  value['spec'] = spec;
}
