// Values that are the same for the same two objects and a text: made once, gone with the objects.

const none: object = {};

/** Default limit of texts per pair; past it a pair starts again, so that a peer cannot make it grow. */
const mostTexts = 500;

export class PairCache<V> {
  #values = new WeakMap<object, WeakMap<object, Map<string, V>>>();
  readonly #limit: number;

  constructor(limit = mostTexts) {
    this.#limit = limit;
  }

  /** Absent objects count as one of their own. The objects must never change. */
  get(a: object | undefined, b: object | undefined, text: string, make: () => V): V {
    const first = a ?? none;
    const second = b ?? none;
    let inner = this.#values.get(first);
    if (!inner) this.#values.set(first, (inner = new WeakMap()));
    let texts = inner.get(second);
    if (!texts) inner.set(second, (texts = new Map()));
    const known = texts.get(text);
    if (known !== undefined) return known;
    if (texts.size >= this.#limit) texts.clear();
    const value = make();
    texts.set(text, value);
    return value;
  }
}
