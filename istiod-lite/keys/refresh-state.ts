// When a key set is fetched again, and how long an old one is used (waypoint-l7.md 7.3). Pure.

export interface Refresh {
  /** Absent = never had: tokens of this issuer are refused. */
  readonly keys?: string | undefined;
  readonly fetchedMs: number;
  /** In a row. */
  readonly failures: number;
  /** Of the last failure. */
  readonly fault?: string | undefined;
}

const minute = 60_000;
const refreshMs = 20 * minute;
const retryCapMs = 60 * minute;
/** Tries in quick succession for keys that were never there. */
const quickTries = 7;
const quickMs = 1_000;
/** Keys that could not be renewed for so long are not used any more. */
const keepMs = 7 * 24 * 60 * minute;

export const neverFetched: Refresh = { fetchedMs: 0, failures: 0 };

export const succeeded = (keys: string, nowMs: number): Refresh => ({
  keys,
  fetchedMs: nowMs,
  failures: 0,
});

export function failed(r: Refresh, fault: string, nowMs: number): Refresh {
  const old = r.keys !== undefined && nowMs - r.fetchedMs > keepMs;
  const { fetchedMs, failures } = r;
  return { keys: old ? undefined : r.keys, fetchedMs, failures: failures + 1, fault };
}

/** Milliseconds until the next fetch. */
export function waitFor({ keys, failures }: Refresh): number {
  if (failures === 0) return refreshMs;
  const slow = keys === undefined ? failures - quickTries : failures;
  if (slow <= 0) return quickMs;
  return Math.min(retryCapMs, minute * 2 ** Math.min(slow - 1, 20));
}
