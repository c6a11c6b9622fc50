// One form of a path for routing, policy and upstream alike (waypoint-l7.md 6.7): dot segments removed, backslashes
// turned, unreserved characters decoded, the query untouched, a fragment cut. Modes do more or less of it.
import { L7Normalization } from '../../core/proto/index.ts';

export interface NormalPath {
  /** Without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

const unreserved = /[A-Za-z0-9\-._~]/;

/** `mode` is a number of L7Normalization; one that is not known is BASE. `undefined` = refuse with 400. */
export function normalisePath(
  target: string,
  mode: number = L7Normalization.BASE,
): NormalPath | undefined {
  const whole = target.split('#', 1)[0] ?? '';
  const cut = whole.indexOf('?');
  const raw = cut < 0 ? whole : whole.slice(0, cut);
  const query = cut < 0 ? '' : whole.slice(cut);
  if (!raw.startsWith('/') || raw.includes('%00')) return undefined;
  if (mode === L7Normalization.AS_IT_IS) return { path: raw, query };
  const slashes = mode === L7Normalization.DECODE_AND_MERGE_SLASHES;
  const open = slashes ? raw.replaceAll(/%(?:2[fF]|5[cC])/g, '/') : raw;
  const path = removeDots(decode(open.replaceAll('\\', '/')));
  const merge = slashes || mode === L7Normalization.MERGE_SLASHES;
  return { path: merge ? path.replaceAll(/\/{2,}/g, '/') : path, query };
}

function decode(path: string): string {
  if (!path.includes('%')) return path;
  return path.replaceAll(/%([0-9A-Fa-f]{2})/g, (escape, hex: string) => {
    const c = String.fromCodePoint(Number.parseInt(hex, 16));
    return unreserved.test(c) ? c : escape;
  });
}

/** RFC 3986 5.2.4; empty segments stay. */
function removeDots(path: string): string {
  if (!path.includes('/.')) return path;
  const out: string[] = [];
  const segments = path.slice(1).split('/');
  for (const [i, s] of segments.entries()) {
    const last = i === segments.length - 1;
    if (s === '.') {
      if (last) out.push('');
    } else if (s === '..') {
      out.pop();
      if (last) out.push('');
    } else out.push(s);
  }
  return `/${out.join('/')}`;
}
