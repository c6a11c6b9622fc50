// Label and field selectors of Kubernetes lists and watches: text → predicate. No IO.
import { statusError } from './status.ts';

type Operator = 'in' | 'notin' | 'exists' | 'absent';

export interface Requirement {
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
}

const keyPattern = /^([a-z0-9A-Z]([-a-z0-9A-Z.]*[a-z0-9A-Z])?\/)?[a-z0-9A-Z]([-\w.]*[a-z0-9A-Z])?$/;

function refuse(text: string, why: string): never {
  throw statusError(400, 'BadRequest', `unable to parse selector "${text}": ${why}`);
}

/** Splits at commas outside parentheses. */
function terms(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '(') depth++;
    else if (c === ')') depth--;
    else if (c === ',' && depth === 0) {
      out.push(text.slice(start, i));
      start = i + 1;
    }
  }
  if (depth !== 0) refuse(text, 'unbalanced parentheses');
  out.push(text.slice(start));
  return out.map((t) => t.trim()).filter((t) => t !== '');
}

function labelTerm(term: string, whole: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\((.*)\)$/s.exec(term);
  if (set) {
    const values = (set[3] ?? '').split(',').map((v) => v.trim());
    return { key: checkKey(set[1] ?? '', whole), operator: set[2] as 'in' | 'notin', values };
  }
  const equal = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(term);
  if (equal) {
    const operator = equal[2] === '!=' ? 'notin' : 'in';
    return { key: checkKey(equal[1] ?? '', whole), operator, values: [equal[3] ?? ''] };
  }
  if (term.startsWith('!')) {
    return { key: checkKey(term.slice(1).trim(), whole), operator: 'absent', values: [] };
  }
  return { key: checkKey(term, whole), operator: 'exists', values: [] };
}

function checkKey(key: string, whole: string): string {
  if (!keyPattern.test(key)) refuse(whole, `"${key}" is not a label key`);
  return key;
}

/** `a=b,c!=d,e in (x,y),f notin (z),g,!h` → requirements, all of which must hold. Throws 400. */
export function parseLabelSelector(text: string): Requirement[] {
  return terms(text).map((t) => labelTerm(t, text));
}

export function matchesLabels(
  requirements: readonly Requirement[],
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return requirements.every(({ key, operator, values }) => {
    const value = labels && Object.hasOwn(labels, key) ? labels[key] : undefined;
    if (operator === 'exists') return value !== undefined;
    if (operator === 'absent') return value === undefined;
    const among = value !== undefined && values.includes(value);
    return operator === 'in' ? among : !among;
  });
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
