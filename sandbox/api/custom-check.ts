// Checks a custom resource against its CRD's openAPIV3Schema: prunes, fills defaults, lists faults.
// Pure. CEL rules (x-kubernetes-validations) are not evaluated.
import { isDeepStrictEqual } from 'node:util';
import {
  type FieldFault,
  forbiddenFault,
  invalidFault,
  requiredFault,
  typeFault,
  unsupportedFault,
} from './faults.ts';
import { isRecord, type Json, list, type MutableJson, number, record, text } from './json.ts';

export interface CheckedCustom {
  readonly value: unknown;
  readonly unknown: readonly string[];
  readonly faults: readonly FieldFault[];
}

interface Findings {
  readonly unknown: string[];
  readonly faults: FieldFault[];
}

const join = (path: string, field: string): string => (path === '' ? field : `${path}.${field}`);

function typeFits(schema: Json, value: unknown): boolean {
  if (schema['x-kubernetes-int-or-string'] === true) {
    return typeof value === 'string' || Number.isSafeInteger(value);
  }
  switch (schema['type']) {
    case 'object':
      return isRecord(value);
    case 'array':
      return Array.isArray(value);
    case 'string':
      return typeof value === 'string';
    case 'integer':
      return Number.isSafeInteger(value);
    case 'number':
      return typeof value === 'number';
    case 'boolean':
      return typeof value === 'boolean';
    default:
      return true;
  }
}

/** A schema's own pattern; one that JavaScript cannot read is not enforced. Bounded by the body's size. */
function patternOf(source: string): RegExp | undefined {
  try {
    return new RegExp(source, 'u');
  } catch {
    try {
      return new RegExp(source);
    } catch {
      return undefined;
    }
  }
}

function checkText(schema: Json, value: string, path: string, found: Findings): void {
  const size = value.length;
  const max = number(schema['maxLength']);
  const min = number(schema['minLength']);
  if (max !== undefined && size > max) {
    found.faults.push(invalidFault(path, value, `should be at most ${max} chars long`));
  }
  if (min !== undefined && size < min) {
    found.faults.push(invalidFault(path, value, `should be at least ${min} chars long`));
  }
  const pattern = text(schema['pattern']);
  if (pattern && size <= 4096 && patternOf(pattern)?.test(value) === false) {
    found.faults.push(invalidFault(path, value, `should match '${pattern}'`));
  }
  if (schema['format'] === 'date-time' && Number.isNaN(Date.parse(value))) {
    found.faults.push(invalidFault(path, value, 'must be of type date-time'));
  }
}

function checkNumber(schema: Json, value: number, path: string, found: Findings): void {
  const max = number(schema['maximum']);
  const min = number(schema['minimum']);
  const over =
    max !== undefined && (schema['exclusiveMaximum'] === true ? value >= max : value > max);
  const under =
    min !== undefined && (schema['exclusiveMinimum'] === true ? value <= min : value < min);
  if (over) found.faults.push(invalidFault(path, value, `should be less than or equal to ${max}`));
  if (under)
    found.faults.push(invalidFault(path, value, `should be greater than or equal to ${min}`));
  const step = number(schema['multipleOf']);
  if (step !== undefined && step > 0 && value % step !== 0) {
    found.faults.push(invalidFault(path, value, `should be a multiple of ${step}`));
  }
}

function checkList(
  schema: Json,
  value: readonly unknown[],
  path: string,
  found: Findings,
): unknown {
  const max = number(schema['maxItems']);
  const min = number(schema['minItems']);
  if (max !== undefined && value.length > max) {
    found.faults.push(invalidFault(path, value.length, `must have at most ${max} items`));
  }
  if (min !== undefined && value.length < min) {
    found.faults.push(invalidFault(path, value.length, `should have at least ${min} items`));
  }
  checkUnique(schema, value, path, found);
  const items = record(schema['items']);
  return value.map((v, i) => check(items, v, `${path}[${i}]`, found));
}

function checkUnique(schema: Json, value: readonly unknown[], path: string, found: Findings): void {
  const kind = schema['x-kubernetes-list-type'];
  if (kind !== 'map' && kind !== 'set' && schema['uniqueItems'] !== true) return;
  const keys = list(schema['x-kubernetes-list-map-keys']).map(text);
  const seen = new Set<string>();
  value.forEach((item, i) => {
    const own = kind === 'map' ? keys.map((k) => record(item)[k] ?? null) : item;
    const id = JSON.stringify(own);
    if (seen.has(id)) {
      found.faults.push({
        field: `${path}[${i}]`,
        reason: 'FieldValueDuplicate',
        message: `Duplicate value: ${id}`,
      });
    }
    seen.add(id);
  });
}

const embedded = new Set(['apiVersion', 'kind', 'metadata']);

function checkObject(schema: Json, value: MutableJson, path: string, found: Findings): MutableJson {
  const properties = record(schema['properties']);
  const extra = schema['additionalProperties'];
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true;
  const out: MutableJson = {};
  for (const [field, v] of Object.entries(value)) {
    const own = Object.hasOwn(properties, field) ? record(properties[field]) : undefined;
    if (keepsRoot(schema, path, field)) out[field] = v;
    else if (own) {
      if (v !== null || own['nullable'] === true)
        out[field] = check(own, v, join(path, field), found);
    } else if (isRecord(extra)) out[field] = check(extra, v, join(path, field), found);
    else if (open || extra === true) out[field] = v;
    else found.unknown.push(join(path, field));
  }
  fillDefaults(properties, out, path, found);
  for (const field of list(schema['required']).map(text)) {
    if (out[field] === undefined) found.faults.push(requiredFault(join(path, field)));
  }
  const max = number(schema['maxProperties']);
  const count = Object.keys(out).length;
  if (max !== undefined && count > max) {
    found.faults.push(invalidFault(path, count, `must have at most ${max} properties`));
  }
  const min = number(schema['minProperties']);
  if (min !== undefined && count < min) {
    found.faults.push(invalidFault(path, count, `must have at least ${min} properties`));
  }
  return out;
}

/** Type and metadata belong to every object, whatever the schema lists. */
function keepsRoot(schema: Json, path: string, field: string): boolean {
  return (path === '' || schema['x-kubernetes-embedded-resource'] === true) && embedded.has(field);
}

function fillDefaults(properties: Json, out: MutableJson, path: string, found: Findings): void {
  for (const [field, raw] of Object.entries(properties)) {
    const schema = record(raw);
    if (out[field] !== undefined || schema['default'] === undefined) continue;
    out[field] = check(schema, structuredClone(schema['default']), join(path, field), found);
  }
}

/** Logical parts only judge; what is kept was decided by the structural part. */
function checkLogic(schema: Json, value: unknown, path: string, found: Findings): void {
  const faultsOf = (part: unknown): FieldFault[] => {
    const inner: Findings = { unknown: [], faults: [] };
    check(record(part), value, path, inner);
    return inner.faults;
  };
  for (const part of list(schema['allOf'])) found.faults.push(...faultsOf(part));
  const any = list(schema['anyOf']).map(faultsOf);
  if (any.length > 0 && any.every((f) => f.length > 0)) found.faults.push(...(any[0] ?? []));
  const one = list(schema['oneOf']).map(faultsOf);
  if (one.length > 0 && one.filter((f) => f.length === 0).length !== 1) {
    found.faults.push(invalidFault(path, value, 'must validate one and only one schema (oneOf)'));
  }
  if (isRecord(schema['not']) && faultsOf(schema['not']).length === 0) {
    found.faults.push(forbiddenFault(path, 'must not validate the schema (not)'));
  }
}

function check(schema: Json, value: unknown, path: string, found: Findings): unknown {
  if (value === null && schema['nullable'] === true) return value;
  if (!typeFits(schema, value)) {
    const type =
      schema['x-kubernetes-int-or-string'] === true ? 'integer or string' : text(schema['type']);
    found.faults.push(typeFault(path, type, value));
    return value;
  }
  const allowed = list(schema['enum']);
  if (allowed.length > 0 && !allowed.some((a) => isDeepStrictEqual(a, value))) {
    found.faults.push(unsupportedFault(path, value, allowed));
  }
  checkLogic(schema, value, path, found);
  if (typeof value === 'string') checkText(schema, value, path, found);
  if (typeof value === 'number') checkNumber(schema, value, path, found);
  if (Array.isArray(value)) return schema['items'] ? checkList(schema, value, path, found) : value;
  if (!isRecord(value)) return value;
  const shaped = schema['properties'] !== undefined || schema['additionalProperties'] !== undefined;
  // Parts of anyOf/oneOf have no type of their own: they judge `required` and `properties`, prune nothing.
  return shaped || schema['type'] === 'object' || schema['required'] !== undefined
    ? checkObject(schema, value, path, found)
    : value;
}

/** `schema` is a version's openAPIV3Schema; without one everything passes. */
export function checkCustom(schema: Json | undefined, value: unknown): CheckedCustom {
  if (!schema) return { value, unknown: [], faults: [] };
  const found: Findings = { unknown: [], faults: [] };
  const checked = check(schema, value, '', found);
  return { value: checked, ...found };
}
