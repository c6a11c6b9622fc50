// Field selectors of Kubernetes lists and watches: text → predicate; label selectors with the API's own refusal. No IO.
import { type LabelRequirement, readLabelSelector } from '../../core/kube/index.ts';
import { statusError } from './status.ts';

function refuse(text: string, why: string): never {
  throw statusError(400, 'BadRequest', `unable to parse selector "${text}": ${why}`);
}

/** As `readLabelSelector`, but throws 400. */
export function parseLabelSelector(text: string): LabelRequirement[] {
  try {
    return readLabelSelector(text);
  } catch (error) {
    throw statusError(400, 'BadRequest', error instanceof Error ? error.message : String(error));
  }
}

export interface FieldRequirement {
  readonly path: readonly string[];
  readonly equal: boolean;
  readonly value: string;
}

/** `metadata.name=x,status.phase!=Running`: any dotted path; an absent field reads as ''. Throws 400. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  return text
    .split(',')
    .map((t) => t.trim())
    .filter((t) => t !== '')
    .map((term) => {
      const m = /^([\w.-]+)\s*(==|=|!=)\s*(.*)$/s.exec(term);
      if (!m) return refuse(text, `"${term}" is not a field requirement`);
      return { path: (m[1] ?? '').split('.'), equal: m[2] !== '!=', value: (m[3] ?? '').trim() };
    });
}

function fieldValue(object: unknown, path: readonly string[]): string {
  let at: unknown = object;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return '';
    at = (at as Record<string, unknown>)[step];
  }
  return typeof at === 'string' || typeof at === 'number' || typeof at === 'boolean'
    ? String(at)
    : '';
}

export function matchesFields(requirements: readonly FieldRequirement[], object: unknown): boolean {
  return requirements.every((r) => (fieldValue(object, r.path) === r.value) === r.equal);
}
