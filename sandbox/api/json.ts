// Reading JSON of others: shapes of unknown values, and a parser that refuses what could hurt us.
import { statusError } from '../store/index.ts';

export type Json = Readonly<Record<string, unknown>>;
export type MutableJson = Record<string, unknown>;

/** Deep enough for any schema, shallow enough for recursion everywhere behind. */
const maxDepth = 128;

export function isRecord(value: unknown): value is MutableJson {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value if it is an object, else an empty one. */
export function record(value: unknown): MutableJson {
  return isRecord(value) ? value : {};
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** A field by path: `at(pod, 'status', 'phase')`; undefined where the path ends early. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value;
  for (const step of path) {
    if (!isRecord(here) || !Object.hasOwn(here, step)) return undefined;
    here = here[step];
  }
  return here;
}

function tooDeep(source: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < source.length; i++) {
    const c = source.charCodeAt(i);
    if (quoted) {
      if (c === 0x5c) i++;
      else if (c === 0x22) quoted = false;
    } else if (c === 0x22) quoted = true;
    else if (c === 0x7b || c === 0x5b) {
      if (++depth > maxDepth) return true;
    } else if (c === 0x7d || c === 0x5d) depth--;
  }
  return false;
}

/** Throws 400 on nesting beyond 128 and on keys that would reach a prototype. */
export function checkKeys(value: unknown, depth = 0): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > maxDepth) throw statusError(400, 'BadRequest', 'the body is nested too deeply');
  for (const [key, child] of Object.entries(value)) {
    if (key === '__proto__') {
      throw statusError(400, 'BadRequest', 'a field named "__proto__" is not allowed');
    }
    checkKeys(child, depth + 1);
  }
}

/** Parses JSON text from a client. Throws 400 with the parser's words. */
export function parseJson(source: string): unknown {
  if (tooDeep(source)) throw statusError(400, 'BadRequest', 'the body is nested too deeply');
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw statusError(400, 'BadRequest', `the body is not JSON: ${(error as Error).message}`);
  }
  if (source.includes('__proto__') || source.includes('\\u')) checkKeys(value);
  return value;
}
