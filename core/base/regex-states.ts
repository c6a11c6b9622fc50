// A user's regular expression as states of a machine, built backwards: each node gets the state that follows it. One for
// those who match whole texts and those who replace what they find.
import { type Node, Refused } from './regex-parse.ts';

const maxStates = 5_000;
/** A rewrite can name no more; places of others are not noted. */
export const mostGroups = 9;

export interface State {
  readonly test?: (c: number) => boolean;
  readonly at?: 'start' | 'end';
  /** Notes the place, in this slot: twice the group's number, and one more at its end. */
  readonly slot?: number;
  /** Preferred first. */
  next: number[];
}

export interface RegexStates {
  /** The one of index 0 is the end: found. */
  readonly states: readonly State[];
  readonly first: number;
}

/** Throws Refused where it would be too large. `slots`: whether groups are noted. */
export function regexStates(node: Node, slots: boolean): RegexStates {
  const builder = new Builder(slots);
  const first = builder.build(node, 0);
  return { states: builder.states, first };
}

class Builder {
  readonly states: State[] = [{ next: [] }];
  readonly #slots: boolean;

  constructor(slots: boolean) {
    this.#slots = slots;
  }

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
        if (!this.#slots || n.index > mostGroups) return this.build(n.of, to);
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
