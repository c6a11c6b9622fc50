// Which releases of Node are still given security fixes, as a pure function of the day (checklist R7). Dates from
// the release schedule of Node.js; odd lines end about a year and a half after their start.

const ends: ReadonlyMap<number, string> = new Map([
  [20, '2026-04-30'],
  [22, '2027-04-30'],
  [23, '2025-06-01'],
  [24, '2028-04-30'],
  [25, '2026-06-01'],
  [26, '2029-04-30'],
]);

/**
 * Why this release should be replaced, e.g. `Node 22 has had no security fixes since 2027-04-30`; `undefined` =
 * it is in support, or newer than what is known here. `version` is `process.version`.
 */
export function outOfSupport(version: string, nowMs: number): string | undefined {
  const line = Number(version.replace(/^v/, '').split('.')[0]);
  if (Number.isNaN(line)) return undefined;
  const end = ends.get(line);
  if (end === undefined)
    return line < 20 ? `Node ${line} has had no security fixes for years` : undefined;
  return nowMs < Date.parse(end)
    ? undefined
    : `Node ${line} has had no security fixes since ${end}`;
}
