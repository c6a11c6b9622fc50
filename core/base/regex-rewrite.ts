// Replaces what a user's regular expression finds, as RE2's GlobalReplace does: leftmost, in the order that the pattern
// prefers, every occurrence. A Pike machine: each step is linear in the pattern, and all steps together are bounded, for
// the texts are callers'.
import { code, type Node, parseRegex, Refused } from './regex-parse.ts';

/** `undefined` = it would take too long. */
export type RegexRewrite = (text: string) => string | undefined;

interface State {
  readonly test?: (c: number) => boolean;
  readonly at?: 'start' | 'end';
  /** Notes the place, in this slot. */
  readonly slot?: number;
  /** Preferred first. */
  next: number[];
}

const maxStates = 5_000;
/** Visits of states for one text: some tens of milliseconds. */
const maxVisits = 200_000;

/** Builds states backwards, like the matcher of whole texts; 0 = found. */
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
      case 'group': {
        const end = this.#add({ slot: 2 * n.index + 1, next: [to] });
        return this.#add({ slot: 2 * n.index, next: [this.build(n.of, end)] });
      }
      case 'repeat':
        return this.#repeat(n, to);
    }
  }

  #repeat(n: Extract<Node, { kind: 'repeat' }>, to: number): number {
    const either = (more: number): number[] => (n.lazy ? [to, more] : [more, to]);
    let at = to;
    if (n.max === Number.POSITIVE_INFINITY) {
      const loop: State = { next: [] };
      at = this.#add(loop);
      loop.next = either(this.build(n.of, at));
    } else {
      for (let i = n.min; i < n.max; i++) at = this.#add({ next: either(this.build(n.of, at)) });
    }
    for (let i = 0; i < n.min; i++) at = this.build(n.of, at);
    return at;
  }
}

/** Where each slot was noted; -1 = never. */
type Slots = readonly number[];

interface Thread {
  readonly state: number;
  readonly slots: Slots;
}

class TooLong extends Error {}

class Machine {
  readonly #states: readonly State[];
  readonly #first: number;
  readonly #none: Slots;
  readonly #chars: readonly number[];
  #visits = 0;

  constructor(states: readonly State[], first: number, groups: number, chars: readonly number[]) {
    this.#states = states;
    this.#first = first;
    this.#none = Array.from({ length: 2 * groups + 2 }, () => -1);
    this.#chars = chars;
  }

  /** All threads that a state leads to without a character, in order of preference. */
  #enter(into: Thread[], seen: Set<number>, from: Thread, i: number): void {
    const stack = [from];
    for (let t = stack.pop(); t; t = stack.pop()) {
      if (++this.#visits > maxVisits) throw new TooLong();
      if (seen.has(t.state)) continue;
      seen.add(t.state);
      const s = this.#states[t.state];
      if (!s) continue;
      if (s.test || t.state === 0) {
        into.push(t);
        continue;
      }
      if (s.at === 'start' && i !== 0) continue;
      if (s.at === 'end' && i !== this.#chars.length) continue;
      const slots = s.slot === undefined ? t.slots : t.slots.with(s.slot, i);
      for (const state of s.next.toReversed()) stack.push({ state, slots });
    }
  }

  /** The leftmost occurrence from there on. */
  find(from: number): Slots | undefined {
    let now: Thread[] = [];
    let seen = new Set<number>();
    let found: Slots | undefined;
    for (let i = from; ; i++) {
      if (!found) {
        const slots = this.#none.with(0, i);
        this.#enter(now, seen, { state: this.#first, slots }, i);
      }
      const then: Thread[] = [];
      const seenThen = new Set<number>();
      const c = this.#chars[i];
      for (const t of now) {
        if (t.state === 0) {
          // Those behind it in the list are preferred less.
          found = t.slots.with(1, i);
          break;
        }
        const s = this.#states[t.state];
        if (c === undefined || !s?.test?.(c)) continue;
        for (const state of s.next) this.#enter(then, seenThen, { state, slots: t.slots }, i + 1);
      }
      if (c === undefined || (then.length === 0 && found)) return found;
      now = then;
      seen = seenThen;
    }
  }
}

/** A text, or the group that stands there. */
type Part = string | number;

/** `\0` is the whole, `\1` to `\9` the groups, `\\` a backslash. */
function readSubstitution(text: string, groups: number): Part[] {
  if (/[\0- \x7f]/.test(text)) throw new Refused('spaces and control characters in the rewrite');
  const parts: Part[] = [];
  const chars = Array.from(text);
  for (let i = 0; i < chars.length; i++) {
    const c = chars[i] ?? '';
    if (c !== '\\') {
      parts.push(c);
      continue;
    }
    const next = chars[++i] ?? '';
    if (next === '\\') parts.push('\\');
    else if (next >= '0' && next <= '9' && Number(next) <= groups) parts.push(Number(next));
    else throw new Refused(`\\${next} in the rewrite is no group`);
  }
  return parts;
}

function replaceAll(machine: Machine, chars: readonly string[], parts: readonly Part[]): string {
  const cut = (from: number, to: number): string => chars.slice(from, to).join('');
  let out = '';
  let at = 0;
  let last = -1;
  while (at <= chars.length) {
    const found = machine.find(at);
    if (!found) break;
    const [start = 0, end = 0] = found;
    out += cut(at, start);
    if (start === end && start === last) {
      // Nothing, right behind the one before: no occurrence of its own.
      out += cut(start, start + 1);
      at = start + 1;
      continue;
    }
    for (const p of parts) {
      const [from = -1, to = -1] = typeof p === 'number' ? found.slice(2 * p, 2 * p + 2) : [];
      out += typeof p === 'string' ? p : from < 0 ? '' : cut(from, to);
    }
    at = end;
    last = end;
  }
  return out + cut(Math.min(at, chars.length), chars.length);
}

/** Or why there is none. */
export function regexRewrite(
  pattern: string,
  substitution: string,
): RegexRewrite | { readonly refused: string } {
  try {
    const { node, groups } = parseRegex(pattern);
    const builder = new Builder();
    const first = builder.build(node, 0);
    const parts = readSubstitution(substitution, groups);
    return (text) => {
      const chars = Array.from(text);
      const machine = new Machine(builder.states, first, groups, chars.map(code));
      try {
        return replaceAll(machine, chars, parts);
      } catch (error) {
        if (error instanceof TooLong) return undefined;
        throw error;
      }
    };
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}
