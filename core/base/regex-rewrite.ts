// Replaces what a user's regular expression finds, as RE2's GlobalReplace does: leftmost, in the order that the pattern
// prefers, every occurrence. A Pike machine: each step is linear in the pattern, and all steps together are bounded, for
// the texts are callers'.
import { code, parseRegex, Refused } from './regex-parse.ts';
import { mostGroups, regexStates, type State } from './regex-states.ts';

/** `undefined` = it would take too long, or become too long. */
export type RegexRewrite = (text: string) => string | undefined;

/** Visits of states for one text: some tens of milliseconds. */
const maxVisits = 200_000;
/** Characters of what becomes of a text: no head that a proxy takes is longer. */
const maxResult = 1 << 16;

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
    const noted = Math.min(groups, mostGroups);
    this.#none = Array.from({ length: 2 * noted + 2 }, () => -1);
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
      if (out.length > maxResult) throw new TooLong();
    }
    at = end;
    last = end;
  }
  const whole = out + cut(Math.min(at, chars.length), chars.length);
  if (whole.length > maxResult) throw new TooLong();
  return whole;
}

/** Or why there is none. */
export function regexRewrite(
  pattern: string,
  substitution: string,
): RegexRewrite | { readonly refused: string } {
  try {
    const { node, groups } = parseRegex(pattern);
    const { states, first } = regexStates(node, true);
    const parts = readSubstitution(substitution, groups);
    return (text) => {
      const chars = Array.from(text);
      const machine = new Machine(states, first, groups, chars.map(code));
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
