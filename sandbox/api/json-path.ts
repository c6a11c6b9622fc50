// The part of JSONPath that CRD columns and scale paths use: `.a.b`, `['a.b']`, `[0]`, `[*]`,
// `[?(@.type=="Ready")]`. Pure; unknown syntax reads as absent.
import { isRecord } from './json.ts';

const token =
  /\.([\w$/-]+(?:\\\.[\w$/-]+)*)|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]|\[\s*(\d+|\*)\s*\]|\[\s*['"]([^'"]+)['"]\s*\]/gy;

function step(values: readonly unknown[], match: RegExpExecArray): unknown[] {
  const [, field, filterField, filterValue, index, quoted] = match;
  const name = field?.replaceAll('\\.', '.') ?? quoted;
  return values.flatMap((value): unknown[] => {
    if (name !== undefined)
      return isRecord(value) && Object.hasOwn(value, name) ? [value[name]] : [];
    if (!Array.isArray(value)) return index === '*' && isRecord(value) ? Object.values(value) : [];
    const items: readonly unknown[] = value;
    if (index === '*') return [...items];
    if (index !== undefined) return Number(index) < items.length ? [items[Number(index)]] : [];
    return items.filter((item) => readPath(item, `.${filterField ?? ''}`) === filterValue);
  });
}

/** All values at the path, in order. */
export function readPaths(object: unknown, path: string): unknown[] {
  let values: unknown[] = [object];
  const source = path.replace(/^\{(.*)\}$/, '$1').replace(/^\$/, '');
  token.lastIndex = 0;
  const pattern = new RegExp(token.source, 'gy');
  while (pattern.lastIndex < source.length) {
    const match = pattern.exec(source);
    if (!match) return [];
    values = step(values, match);
  }
  return values;
}

/** The first value at the path; undefined if there is none. */
export function readPath(object: unknown, path: string): unknown {
  return readPaths(object, path)[0];
}

/** Writes at a plain dotted path (`.spec.replicas`), making objects on the way. */
export function writePath(object: Record<string, unknown>, path: string, value: unknown): void {
  const steps = path.replace(/^\./, '').split('.');
  let at = object;
  for (const name of steps.slice(0, -1)) {
    if (!isRecord(at[name])) at[name] = {};
    at = at[name] as Record<string, unknown>;
  }
  const last = steps.at(-1);
  if (last !== undefined && last !== '__proto__') at[last] = value;
}
