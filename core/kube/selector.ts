// Label selectors of Kubernetes: text → requirements, and whether labels meet them. No IO.
type Operator = 'in' | 'notin' | 'exists' | 'absent';

export interface LabelRequirement {
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
}

const keyPattern = /^([a-z0-9A-Z]([-a-z0-9A-Z.]*[a-z0-9A-Z])?\/)?[a-z0-9A-Z]([-\w.]*[a-z0-9A-Z])?$/;

function refuse(text: string, why: string): never {
  throw new Error(`unable to parse selector "${text}": ${why}`);
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

function labelTerm(term: string, whole: string): LabelRequirement {
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

/**
 * `a=b,c!=d,e in (x,y),f notin (z),g,!h` → requirements, all of which must hold. Throws Error with the text and what is
 * wrong with it.
 */
export function readLabelSelector(text: string): LabelRequirement[] {
  return terms(text).map((t) => labelTerm(t, text));
}

export function matchesLabels(
  requirements: readonly LabelRequirement[],
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
