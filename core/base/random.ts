// Chance as an argument (style practice 14).

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
}

/** Deterministic generator (mulberry32) for tests and property runs. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    },
  };
}

/** Picks by weight; entries with weight ≤ 0 are never chosen; `undefined` if no weight is positive. */
export function weightedPick<T>(
  items: readonly T[],
  weightOf: (item: T) => number,
  random: Random,
): T | undefined {
  let total = 0;
  for (const item of items) total += Math.max(0, weightOf(item));
  if (total <= 0) return undefined;
  let left = random.next() * total;
  for (const item of items) {
    const weight = Math.max(0, weightOf(item));
    if (weight > 0 && left < weight) return item;
    left -= weight;
  }
  return items.findLast((item) => weightOf(item) > 0);
}
