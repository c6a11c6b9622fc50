// Regular expressions of users, matched over the whole text in time linear in it: a Thompson machine over
// the common subset of RE2.
import { code, type Node, parseRegex, Refused } from './regex-parse.ts';

export type LinearRegex = (text: string) => boolean;

const maxStates = 5_000;

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
      case 'group':
        return this.build(n.of, to);
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
    const first = builder.build(parseRegex(pattern).node, 0);
    const { states } = builder;
    return (text) => run(states, first, text);
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}
