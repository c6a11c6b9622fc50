// The few statistics the pure cases need.

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

export const longest = (samples: readonly number[]): number =>
  samples.reduce((most, s) => Math.max(most, s), 0);
