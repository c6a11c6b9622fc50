// Regular expressions of users, read: the common subset of RE2. What is not in it (look-around, back-references) is
// refused.

export type Node =
  | { readonly kind: 'set'; readonly test: (c: number) => boolean }
  | { readonly kind: 'cat' | 'alt'; readonly of: readonly Node[] }
  | {
      readonly kind: 'repeat';
      readonly of: Node;
      readonly min: number;
      readonly max: number;
      /** As few as will do. */
      readonly lazy: boolean;
    }
  /** Counted from 1, by their opening brackets. */
  | { readonly kind: 'group'; readonly of: Node; readonly index: number }
  | { readonly kind: 'start' | 'end' };

const maxRepeat = 1_000;

export class Refused extends Error {}

export const code = (c: string): number => c.codePointAt(0) ?? 0;
const range =
  (lo: string, hi: string) =>
  (c: number): boolean =>
    c >= code(lo) && c <= code(hi);
const digit = range('0', '9');
const word = (c: number): boolean =>
  digit(c) || range('a', 'z')(c) || range('A', 'Z')(c) || c === code('_');
const space = (c: number): boolean => ' \t\n\r\f\v'.includes(String.fromCodePoint(c));
const not =
  (f: (c: number) => boolean) =>
  (c: number): boolean =>
    !f(c);
const classes: Readonly<Record<string, (c: number) => boolean>> = {
  d: digit,
  D: not(digit),
  w: word,
  W: not(word),
  s: space,
  S: not(space),
};
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' };

/** Recursive descent over the pattern. */
class Parser {
  groups = 0;
  readonly #p: readonly string[];
  #i = 0;
  #fold = false;
  #depth = 0;

  constructor(pattern: string) {
    this.#p = Array.from(pattern);
  }

  parse(): Node {
    if (this.#p.slice(0, 4).join('') === '(?i)') {
      this.#fold = true;
      this.#i = 4;
    }
    const node = this.#alternatives();
    if (this.#i < this.#p.length) throw new Refused(`unexpected ${this.#p[this.#i]}`);
    return node;
  }

  #alternatives(): Node {
    if (++this.#depth > 100) throw new Refused('nested too deeply');
    const of = [this.#sequence()];
    while (this.#p[this.#i] === '|') {
      this.#i++;
      of.push(this.#sequence());
    }
    this.#depth--;
    return of.length === 1 && of[0] ? of[0] : { kind: 'alt', of };
  }

  #sequence(): Node {
    const of: Node[] = [];
    for (;;) {
      const c = this.#p[this.#i];
      if (c === undefined || c === '|' || c === ')') return { kind: 'cat', of };
      of.push(this.#repeated());
    }
  }

  #repeated(): Node {
    let node = this.#atom();
    for (;;) {
      const bounds = this.#bounds();
      if (!bounds) return node;
      const lazy = this.#p[this.#i] === '?';
      if (lazy) this.#i++;
      node = { kind: 'repeat', of: node, min: bounds[0], max: bounds[1], lazy };
    }
  }

  #bounds(): [number, number] | undefined {
    const c = this.#p[this.#i];
    const simple: Record<string, [number, number]> = {
      '*': [0, Number.POSITIVE_INFINITY],
      '+': [1, Number.POSITIVE_INFINITY],
      '?': [0, 1],
    };
    const hit = c === undefined ? undefined : simple[c];
    if (hit) {
      this.#i++;
      return hit;
    }
    if (c !== '{') return undefined;
    const rest = this.#p.slice(this.#i, this.#i + 16).join('');
    const m = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(rest);
    if (!m) return undefined;
    this.#i += m[0].length;
    const min = Number(m[1]);
    const max = m[2] === undefined ? min : m[3] === '' ? Number.POSITIVE_INFINITY : Number(m[3]);
    if (min > maxRepeat || (max !== Number.POSITIVE_INFINITY && (max > maxRepeat || max < min))) {
      throw new Refused('bad repetition');
    }
    return [min, max];
  }

  #atom(): Node {
    const c = this.#p[this.#i++];
    switch (c) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', test: this.#set() };
      case '.':
        return { kind: 'set', test: (x) => x !== 10 };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '\\':
        return this.#escape();
      case '*':
      case '+':
      case '?':
        throw new Refused(`nothing to repeat before ${c}`);
      default:
        return this.#literal(c ?? '');
    }
  }

  #literal(c: string): Node {
    const a = code(c);
    if (!this.#fold) return { kind: 'set', test: (x) => x === a };
    const lower = c.toLowerCase();
    return { kind: 'set', test: (x) => String.fromCodePoint(x).toLowerCase() === lower };
  }

  #group(): Node {
    let index = 0;
    if (this.#p[this.#i] === '?') {
      const next = this.#p[this.#i + 1];
      if (next !== ':') throw new Refused('look-around and named groups are not supported');
      this.#i += 2;
    } else index = ++this.groups;
    const node = this.#alternatives();
    if (this.#p[this.#i++] !== ')') throw new Refused('missing )');
    return index === 0 ? node : { kind: 'group', of: node, index };
  }

  #escape(): Node {
    const c = this.#p[this.#i++];
    if (c === undefined) throw new Refused('trailing backslash');
    const known = classes[c];
    if (known) return { kind: 'set', test: known };
    if (c === 'A') return { kind: 'start' };
    if (c === 'z') return { kind: 'end' };
    return this.#literal(this.#escaped(c));
  }

  #escaped(c: string): string {
    const control = controls[c];
    if (control !== undefined) return control;
    if (/[a-zA-Z0-9]/.test(c)) throw new Refused(`\\${c} is not supported`);
    return c;
  }

  #set(): (c: number) => boolean {
    const negated = this.#p[this.#i] === '^';
    if (negated) this.#i++;
    const tests: ((c: number) => boolean)[] = [];
    for (let first = true; ; first = false) {
      const c = this.#p[this.#i++];
      if (c === undefined) throw new Refused('missing ]');
      if (c === ']' && !first) break;
      tests.push(this.#member(c));
    }
    const any = (x: number): boolean => tests.some((t) => t(x));
    const folded = (x: number): boolean => {
      const s = String.fromCodePoint(x);
      return any(code(s.toLowerCase())) || any(code(s.toUpperCase()));
    };
    const test = this.#fold ? folded : any;
    return negated ? not(test) : test;
  }

  #member(c: string): (c: number) => boolean {
    let low = c;
    if (c === '\\') {
      const e = this.#p[this.#i++] ?? '';
      const known = classes[e];
      if (known) return known;
      low = this.#escaped(e);
    }
    if (this.#p[this.#i] !== '-' || this.#p[this.#i + 1] === ']') return range(low, low);
    this.#i++;
    let high = this.#p[this.#i++] ?? '';
    if (high === '\\') high = this.#escaped(this.#p[this.#i++] ?? '');
    if (high === '' || code(high) < code(low)) throw new Refused('bad range');
    return range(low, high);
  }
}

/** How many groups there are beside the whole. Throws Refused. */
export function parseRegex(pattern: string): { readonly node: Node; readonly groups: number } {
  const parser = new Parser(pattern);
  return { node: parser.parse(), groups: parser.groups };
}
