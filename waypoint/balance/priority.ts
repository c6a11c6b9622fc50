// Priorities of localities and how load spills from one to the next (waypoint-l7.md 5.2).
import type { Random } from '../../core/base/index.ts';

export interface Level<T> {
  /** Fit and unfit. */
  readonly all: readonly T[];
  readonly fit: readonly T[];
}

const overprovisioning = 1.4;

/** Share of load per level in percent, as Envoy computes it; whole numbers that sum to 100, or all 0. */
export function levelLoads(levels: readonly Level<unknown>[]): number[] {
  const health = levels.map(({ all, fit }) =>
    all.length === 0
      ? 0
      : Math.min(100, Math.floor((overprovisioning * 100 * fit.length) / all.length)),
  );
  const total = Math.min(
    100,
    health.reduce((a, b) => a + b, 0),
  );
  if (total === 0) return levels.map(() => 0);
  let left = 100;
  const loads = health.map((h) => {
    const load = Math.min(left, Math.floor((h * 100) / total));
    left -= load;
    return load;
  });
  // What rounding left over goes to the first level that takes any.
  const first = loads.findIndex((l) => l > 0);
  if (first >= 0) loads[first] = (loads[first] ?? 0) + left;
  return loads;
}

/**
 * The hosts to choose from. `panicPercent` > 0: a level under it uses all of its hosts when the levels together are
 * not healthy enough, and so does the first when nothing is fit at all; 0 = never.
 */
export function chooseLevel<T>(
  levels: readonly Level<T>[],
  panicPercent: number,
  random: Random,
): readonly T[] {
  const loads = levelLoads(levels);
  const inPanic = (l: Level<T>): boolean =>
    l.all.length > 0 && (100 * l.fit.length) / l.all.length < panicPercent;
  if (loads.every((l) => l === 0)) {
    return panicPercent > 0 ? (levels.find((l) => l.all.length > 0)?.all ?? []) : [];
  }
  let draw = random.next() * 100;
  const at = loads.findIndex((load) => (draw -= load) < 0);
  const level = levels[at < 0 ? loads.findLastIndex((l) => l > 0) : at];
  if (!level) return [];
  const whole = overprovisioning * levels.reduce((n, l) => n + l.fit.length, 0);
  const weak = whole < levels.reduce((n, l) => n + l.all.length, 0);
  return weak && inPanic(level) ? level.all : level.fit;
}
