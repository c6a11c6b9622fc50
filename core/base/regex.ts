// Regular expressions of users, matched over the whole text in time linear in it: a Thompson machine over
// the common subset of RE2.
import { code, parseRegex, Refused } from './regex-parse.ts';
import { regexStates, type State } from './regex-states.ts';

export type LinearRegex = (text: string) => boolean;

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
    const { states, first } = regexStates(parseRegex(pattern).node, false);
    return (text) => run(states, first, text);
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}
