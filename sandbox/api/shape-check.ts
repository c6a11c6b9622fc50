// Checks an object against the generated shapes of built-in kinds: unknown fields and wrong types are
// told apart, because Kubernetes warns about the former and refuses the latter. Pure.
import { type FieldFault, requiredFault, typeFault } from './faults.ts';
import { isRecord, type MutableJson } from './json.ts';
import { kinds, shapes } from './schema.gen.ts';

export interface Checked {
  /** The value without unknown fields and nulls. */
  readonly value: unknown;
  /** Paths of unknown fields. */
  readonly unknown: readonly string[];
  /** Values of the wrong type. */
  readonly mistyped: readonly FieldFault[];
  /** Missing fields. */
  readonly missing: readonly FieldFault[];
}

interface Findings {
  readonly unknown: string[];
  readonly mistyped: FieldFault[];
  readonly missing: FieldFault[];
}

/** The shape of a built-in kind, e.g. `V1Pod`. */
export function shapeOf(apiVersion: string, kind: string): string | undefined {
  const key = `${apiVersion}/${kind}`;
  return Object.hasOwn(kinds, key) ? kinds[key] : undefined;
}

/** Kubernetes demands these although their types leave them open. */
const alsoRequired: Readonly<Record<string, readonly string[]>> = {
  V1Pod: ['spec'],
  V1Deployment: ['spec'],
  V1ReplicaSet: ['spec'],
  V1DaemonSet: ['spec'],
  V1PodTemplateSpec: ['spec'],
  V1NetworkPolicy: ['spec'],
};

const quantityPattern = /^[+-]?(\d+|\d+\.\d*|\.\d+)(([KMGTPE]i)|[munkMGTPE]|[eE][+-]?\d+)?$/;

function scalarFits(type: string, value: unknown): boolean {
  switch (type) {
    case 'any':
      return true;
    case 'string':
      return typeof value === 'string';
    case 'boolean':
      return typeof value === 'boolean';
    case 'integer':
      return Number.isSafeInteger(value);
    case 'number':
      return typeof value === 'number';
    case 'intstr':
      return typeof value === 'string' || Number.isSafeInteger(value);
    case 'quantity':
      return (
        typeof value === 'number' || (typeof value === 'string' && quantityPattern.test(value))
      );
    case 'time':
      return (
        typeof value === 'string' &&
        /^\d{4}-\d\d-\d\dT/.test(value) &&
        !Number.isNaN(Date.parse(value))
      );
    default:
      return false;
  }
}

const typeNames: Readonly<Record<string, string>> = {
  intstr: 'integer or string',
  quantity: 'quantity',
  time: 'RFC 3339 time',
};

function walk(type: string, value: unknown, path: string, found: Findings): unknown {
  if (type.startsWith('[]')) return walkList(type.slice(2), value, path, found);
  if (type.startsWith('{}')) return walkMap(type.slice(2), value, path, found);
  const fields = Object.hasOwn(shapes, type) ? shapes[type] : undefined;
  if (!fields) {
    if (!scalarFits(type, value))
      found.mistyped.push(typeFault(path, typeNames[type] ?? type, value));
    return type === 'quantity' && typeof value === 'number' ? String(value) : value;
  }
  if (!isRecord(value)) {
    found.mistyped.push(typeFault(path, 'object', value));
    return value;
  }
  return walkObject(type, fields, value, path, found);
}

function walkList(type: string, value: unknown, path: string, found: Findings): unknown {
  if (Array.isArray(value)) return value.map((v, i) => walk(type, v, `${path}[${i}]`, found));
  found.mistyped.push(typeFault(path, 'array', value));
  return value;
}

function walkMap(type: string, value: unknown, path: string, found: Findings): unknown {
  if (!isRecord(value)) {
    found.mistyped.push(typeFault(path, 'object', value));
    return value;
  }
  const out: MutableJson = {};
  for (const [key, v] of Object.entries(value)) {
    if (v !== null) out[key] = walk(type, v, `${path}.${key}`, found);
  }
  return out;
}

function walkObject(
  shape: string,
  fields: Readonly<Record<string, string>>,
  value: MutableJson,
  path: string,
  found: Findings,
): MutableJson {
  const out: MutableJson = {};
  const join = (field: string) => (path === '' ? field : `${path}.${field}`);
  for (const [field, v] of Object.entries(value)) {
    const type = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (type === undefined) found.unknown.push(join(field));
    else if (v !== null) out[field] = walk(type.replace(/^!/, ''), v, join(field), found);
  }
  const must = Object.keys(fields).filter((f) => fields[f]?.startsWith('!'));
  for (const field of [...must, ...(alsoRequired[shape] ?? [])]) {
    if (out[field] === undefined) found.missing.push(requiredFault(join(field)));
  }
  return out;
}

/** `shape` is a name of schema.gen.ts. */
export function checkShape(shape: string, value: unknown): Checked {
  const found: Findings = { unknown: [], mistyped: [], missing: [] };
  return { value: walk(shape, value, '', found), ...found };
}
