// Regular expressions of users, matched over the whole text in time linear in it: a Thompson machine over
// the common subset of RE2. What is not in the subset (look-around, back-references) is refused.

type Node =
  | { readonly kind: 'set'; readonly test: (c: number) => boolean }
  | { readonly kind: 'cat' | 'alt'; readonly of: readonly Node[] }
  | { readonly kind: 'repeat'; readonly of: Node; readonly min: number; readonly max: number }
  | { readonly kind: 'start' | 'end' };

export type LinearRegex = (text: string) => boolean;

const maxStates = 5_000;
const maxRepeat = 1_000;

class Refused extends Error {}

const code = (c: string): number => c.codePointAt(0) ?? 0;
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
      if (this.#p[this.#i] === '?') this.#i++;
      node = { kind: 'repeat', of: node, min: bounds[0], max: bounds[1] };
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
    if (this.#p[this.#i] === '?') {
      const next = this.#p[this.#i + 1];
      if (next !== ':') throw new Refused('look-around and named groups are not supported');
      this.#i += 2;
    }
    const node = this.#alternatives();
    if (this.#p[this.#i++] !== ')') throw new Refused('missing )');
    return node;
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

interface State {
  readonly test?: (c: number) => boolean;
  readonly at?: 'start' | 'end';
  next: number[];
}

/** Builds states backwards: each node gets the state that follows it. */
class Builder {
  readonly states: State[] = [{ next: [] }];

  #add(s: State): number {
    if (this.states.length >= maxStates) throw new Refused('too large');
    return this.states.push(s) - 1;
  }

  build(n: Node, to: number): number {
    switch (n.kind) {
      case 'set':
        return this.#add({ test: n.test, next: [to] });
      case 'start':
      case 'end':
        return this.#add({ at: n.kind, next: [to] });
      case 'cat':
        return n.of.toReversed().reduce((after, part) => this.build(part, after), to);
      case 'alt':
        return this.#add({ next: n.of.map((part) => this.build(part, to)) });
      case 'repeat':
        return this.#repeat(n, to);
    }
  }

  #repeat(n: Extract<Node, { kind: 'repeat' }>, to: number): number {
    let at = to;
    if (n.max === Number.POSITIVE_INFINITY) {
      const loop: State = { next: [to] };
      at = this.#add(loop);
      loop.next = [this.build(n.of, at), to];
    } else {
      for (let i = n.min; i < n.max; i++) at = this.#add({ next: [this.build(n.of, at), to] });
    }
    for (let i = 0; i < n.min; i++) at = this.build(n.of, at);
    return at;
  }
}

function run(states: readonly State[], first: number, text: string): boolean {
  const chars = Array.from(text, code);
  let now = new Set<number>();
  const enter = (into: Set<number>, state: number, i: number): void => {
    const stack = [state];
    for (let s = stack.pop(); s !== undefined; s = stack.pop()) {
      if (into.has(s)) continue;
      into.add(s);
      const at = states[s];
      if (!at || at.test) continue;
      if (at.at === 'start' && i !== 0) continue;
      if (at.at === 'end' && i !== chars.length) continue;
      stack.push(...at.next);
    }
  };
  enter(now, first, 0);
  for (const [i, c] of chars.entries()) {
    const then = new Set<number>();
    for (const s of now) {
      const at = states[s];
      if (at?.test?.(c)) for (const n of at.next) enter(then, n, i + 1);
    }
    if (then.size === 0) return false;
    now = then;
  }
  return now.has(0);
}

/** A matcher of whole texts, or why there is none. */
export function linearRegex(pattern: string): LinearRegex | { readonly refused: string } {
  try {
    const builder = new Builder();
    const first = builder.build(new Parser(pattern).parse(), 0);
    const { states } = builder;
    return (text) => run(states, first, text);
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}
