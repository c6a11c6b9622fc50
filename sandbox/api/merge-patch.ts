// JSON merge patch (RFC 7396) and JSON patch (RFC 6902). Pure: returns new values, changes nothing.
import { isDeepStrictEqual } from 'node:util';
import { statusError } from '../store/index.ts';
import { isRecord, type MutableJson, text } from './json.ts';

/** RFC 7396: null deletes, objects merge, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const out: MutableJson = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = mergePatch(Object.hasOwn(out, key) ? out[key] : undefined, value);
  }
  return out;
}

function refuse(why: string): never {
  throw statusError(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: ${why}`,
  );
}

function parsePointer(pointer: unknown): string[] {
  const path = text(pointer);
  if (path === '' && typeof pointer === 'string') return [];
  if (!path.startsWith('/')) return refuse(`"${path}" is not a JSON pointer`);
  return path
    .slice(1)
    .split('/')
    .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function child(parent: unknown, key: string, pointer: string): unknown {
  if (Array.isArray(parent) && /^\d+$/.test(key) && Number(key) < parent.length) {
    return parent[Number(key)] as unknown;
  }
  if (isRecord(parent) && Object.hasOwn(parent, key)) return parent[key];
  return refuse(`there is nothing at "${pointer}"`);
}

function read(document: unknown, path: readonly string[]): unknown {
  return path.reduce(
    (at, key, i) => child(at, key, `/${path.slice(0, i + 1).join('/')}`),
    document,
  );
}

/** Writes into a document that is ours to change. */
function write(document: unknown, path: readonly string[], op: string, value: unknown): unknown {
  const key = path.at(-1);
  if (key === undefined) return value;
  const parent = read(document, path.slice(0, -1));
  if (Array.isArray(parent)) {
    const index =
      key === '-' && op === 'add' ? parent.length : /^\d+$/.test(key) ? Number(key) : -1;
    const last = op === 'add' ? parent.length : parent.length - 1;
    if (index < 0 || index > last)
      refuse(`"${key}" is not an index of /${path.slice(0, -1).join('/')}`);
    parent.splice(index, op === 'add' ? 0 : 1, ...(op === 'remove' ? [] : [value]));
  } else if (isRecord(parent)) {
    if (op !== 'add' && !Object.hasOwn(parent, key))
      refuse(`there is nothing at "/${path.join('/')}"`);
    if (op === 'remove') delete parent[key];
    else parent[key] = value;
  } else refuse(`nothing can be put at "/${path.join('/')}"`);
  return document;
}

function step(document: unknown, operation: MutableJson): unknown {
  const path = parsePointer(operation['path']);
  if (path.includes('__proto__')) refuse('a field named "__proto__" is not allowed');
  const op = text(operation['op']);
  switch (op) {
    case 'add':
    case 'replace':
      return write(document, path, op, structuredClone(operation['value']));
    case 'remove':
      return write(document, path, op, undefined);
    case 'copy':
      return write(
        document,
        path,
        'add',
        structuredClone(read(document, parsePointer(operation['from']))),
      );
    case 'move': {
      const from = parsePointer(operation['from']);
      const moved = read(document, from);
      return write(write(document, from, 'remove', undefined), path, 'add', moved);
    }
    case 'test':
      if (isDeepStrictEqual(read(document, path), operation['value'])) return document;
      return refuse(`testing path "/${path.join('/')}" failed`);
    default:
      return refuse(`"${op}" is not a patch operation`);
  }
}

/** RFC 6902, at most 10,000 operations. Throws 422 naming the operation that does not fit. */
export function jsonPatch(target: unknown, operations: unknown): unknown {
  if (!Array.isArray(operations)) return refuse('a JSON patch is a list of operations');
  if (operations.length > 10_000) return refuse('too many operations');
  return operations.reduce<unknown>((document, operation: unknown) => {
    if (!isRecord(operation)) return refuse('an operation is an object');
    return step(document, operation);
  }, structuredClone(target));
}
