// Host names of listeners and routes (Gateway API): exact, `*.example.com` for one label or more, empty for any.
// All in lower case.

export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '') return true;
  if (!pattern.startsWith('*.')) return pattern === host;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

/** Exact first, then the longest wildcard, then any. */
const rank = (pattern: string): number =>
  pattern === '' ? 0 : pattern.startsWith('*.') ? pattern.length : 1000;

/** The most specific of those that take the host; the first of equals. */
export function bestHost<T>(
  all: readonly T[],
  host: string,
  nameOf: (t: T) => string,
): T | undefined {
  let best: T | undefined;
  for (const t of all) {
    const name = nameOf(t);
    if (hostMatches(name, host) && (!best || rank(name) > rank(nameOf(best)))) best = t;
  }
  return best;
}

/** What both patterns take, as a pattern; `undefined` = nothing. */
export function intersectHosts(a: string, b: string): string | undefined {
  const bare = (p: string): string => (p.startsWith('*.') ? `x${p.slice(1)}` : p);
  if (a === '' || b === '') return a || b;
  if (hostMatches(a, bare(b)) && (a.startsWith('*.') || a === b)) return b;
  return hostMatches(b, bare(a)) ? a : undefined;
}

/** Of an authority: lower case, without port and final dot. */
export const hostOf = (authority: string): string =>
  authority.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');
