// Texts of a request against texts of policies: many of both without looking at every pair. Exact patterns are looked up,
// beginnings and ends are found in order once there are many values.

/** exact, `prefix*`, `*suffix`, `*` = anything that is there. */
export function textTest(pattern: string, blank = false): (s: string) => boolean {
  if (pattern === '*') return blank ? () => true : (s) => s !== '';
  if (pattern.startsWith('*')) {
    const tail = pattern.slice(1);
    return (s) => s.endsWith(tail);
  }
  if (pattern.endsWith('*')) {
    const start = pattern.slice(0, -1);
    return (s) => s.startsWith(start);
  }
  return (s) => s === pattern;
}

/** Up to so many values each is looked at. */
const few = 16;

const reversed = (s: string): string => {
  let out = '';
  for (let i = s.length - 1; i >= 0; i--) out += s[i];
  return out;
};

/** Whether a text of a sorted list begins so. */
function someBegin(sorted: readonly string[], start: string): boolean {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? '') < start) low = middle + 1;
    else high = middle;
  }
  return sorted[low]?.startsWith(start) ?? false;
}

/** The texts that one field of one request has. */
export class Values {
  readonly all: readonly string[];
  #set: ReadonlySet<string> | undefined;
  #sorted: readonly string[] | undefined;
  #backwards: readonly string[] | undefined;

  constructor(all: readonly string[]) {
    this.all = all;
  }

  has(text: string): boolean {
    if (this.all.length <= few) return this.all.includes(text);
    this.#set ??= new Set(this.all);
    return this.#set.has(text);
  }

  begin(start: string): boolean {
    if (this.all.length <= few) return this.all.some((s) => s.startsWith(start));
    this.#sorted ??= this.all.toSorted();
    return someBegin(this.#sorted, start);
  }

  end(tail: string): boolean {
    if (this.all.length <= few) return this.all.some((s) => s.endsWith(tail));
    this.#backwards ??= this.all.map(reversed).toSorted();
    return someBegin(this.#backwards, reversed(tail));
  }
}

export const noValues = new Values([]);

/** The patterns of one field of one rule. */
export class Patterns {
  readonly #exact: ReadonlySet<string>;
  readonly #starts: readonly string[];
  readonly #ends: readonly string[];
  readonly #present: boolean;
  readonly #blank: boolean;
  /** The same for equal patterns. */
  readonly key: string;

  /** `blank`: `*` holds for an empty text too. `literal`: a star is a star. */
  constructor(all: readonly string[], o: { readonly blank?: boolean; readonly literal?: boolean }) {
    const is = (p: string): 'present' | 'end' | 'start' | 'exact' => {
      if (o.literal === true) return 'exact';
      if (p === '*') return 'present';
      return p.startsWith('*') ? 'end' : p.endsWith('*') ? 'start' : 'exact';
    };
    this.key = JSON.stringify([all, o]);
    this.#exact = new Set(all.filter((p) => is(p) === 'exact'));
    this.#starts = all.filter((p) => is(p) === 'start').map((p) => p.slice(0, -1));
    this.#ends = all.filter((p) => is(p) === 'end').map((p) => p.slice(1));
    this.#present = all.some((p) => is(p) === 'present');
    this.#blank = o.blank === true;
  }

  /** Whether one of them meets one of the values. */
  hit(values: Values): boolean {
    const { all } = values;
    if (all.length === 0) return false;
    if (this.#present && (this.#blank || all.some((s) => s !== ''))) return true;
    return (
      this.#exactHit(values) ||
      this.#starts.some((p) => values.begin(p)) ||
      this.#ends.some((p) => values.end(p))
    );
  }

  #exactHit(values: Values): boolean {
    const exact = this.#exact;
    if (values.all.length <= exact.size) return values.all.some((s) => exact.has(s));
    for (const p of exact) if (values.has(p)) return true;
    return false;
  }

  /** Whether one of them meets this text. */
  meet(text: string): boolean {
    return (
      (this.#present && (this.#blank || text !== '')) ||
      this.#exact.has(text) ||
      this.#starts.some((p) => text.startsWith(p)) ||
      this.#ends.some((p) => text.endsWith(p))
    );
  }
}

/** `*` anywhere in the value. */
export function namespaceTest(pattern: string): (s: string) => boolean {
  if (!pattern.includes('*')) return (s) => s === pattern;
  const parts = pattern.split('*');
  return (s) => matchesParts(s, parts);
}

function matchesParts(s: string, parts: readonly string[]): boolean {
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (!s.startsWith(first) || s.length < first.length + last.length || !s.endsWith(last))
    return false;
  let at = first.length;
  const end = s.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = s.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
