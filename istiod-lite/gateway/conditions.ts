// Conditions of a status: ours replaced, those of others kept, nothing written where nothing changed. Pure; the time is
// an argument.
import type { Condition } from '../cluster/index.ts';

export interface Wanted {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

export const yes = (type: string, reason: string, message: string): Wanted => ({
  type,
  status: 'True',
  reason,
  message,
});
export const no = (type: string, reason: string, message: string): Wanted => ({
  type,
  status: 'False',
  reason,
  message,
});

const same = (old: Condition, w: Wanted, generation: number): boolean =>
  old.status === w.status &&
  old.reason === w.reason &&
  old.message === w.message &&
  old.observedGeneration === generation;

/** The whole list: ours replaced, those of others kept. `undefined` = as it is. */
export function settle(
  old: readonly Condition[],
  wanted: readonly Wanted[],
  generation: number,
  now: string,
  dropped: readonly string[] = [],
): Condition[] | undefined {
  const made = wanted.map((w): Condition => {
    const before = old.find((c) => c.type === w.type);
    const kept = before?.status === w.status ? before.lastTransitionTime : now;
    return { ...w, observedGeneration: generation, lastTransitionTime: kept };
  });
  const others = old.filter(
    (c) => !made.some((m) => m.type === c.type) && !dropped.includes(c.type),
  );
  const unchanged =
    others.length + made.length === old.length &&
    wanted.every((w) => old.some((c) => c.type === w.type && same(c, w, generation)));
  return unchanged ? undefined : [...others, ...made];
}
