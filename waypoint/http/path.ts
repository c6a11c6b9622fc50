// One form of a path for routing, policy and upstream alike (waypoint-l7.md 6.7, mode BASE): dot segments
// removed, backslashes turned, unreserved characters decoded, the query untouched, a fragment cut.

export interface NormalPath {
  /** Without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

const unreserved = /[A-Za-z0-9\-._~]/;

/** `undefined` = refuse with 400. */
export function normalisePath(target: string): NormalPath | undefined {
  const whole = target.split('#', 1)[0] ?? '';
  const cut = whole.indexOf('?');
  const raw = cut < 0 ? whole : whole.slice(0, cut);
  const query = cut < 0 ? '' : whole.slice(cut);
  if (!raw.startsWith('/')) return undefined;
  const decoded = decode(raw.replaceAll('\\', '/'));
  return decoded === undefined ? undefined : { path: removeDots(decoded), query };
}

function decode(path: string): string | undefined {
  if (!path.includes('%')) return path;
  let bad = false;
  const out = path.replaceAll(/%([0-9A-Fa-f]{2})/g, (whole, hex: string) => {
    const c = String.fromCodePoint(Number.parseInt(hex, 16));
    if (c === '\0') bad = true;
    return unreserved.test(c) ? c : whole;
  });
  return bad ? undefined : out;
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
