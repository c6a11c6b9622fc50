// Path templates of policies (waypoint-l7.md 6.5): `{*}` is one segment, `{**}` zero or more, the last
// operator; literals only around them.

/** Segments that a template may have, and of a path the ones that are told apart. */
export const maxSegments = 128;

/** A path as templates look at it: none of them reads more than its beginning and its end. */
export interface Segmented {
  readonly path: string;
  /** The first `maxSegments + 1`, without slashes; none where the path does not begin with one. */
  readonly first: readonly string[];
}

export const segmented = (path: string): Segmented => ({
  path,
  first: path.startsWith('/') ? path.slice(1).split('/', maxSegments + 1) : [],
});

export function compileTemplate(
  pattern: string,
): ((p: Segmented) => boolean) | { readonly refused: string } {
  if (!pattern.startsWith('/')) return { refused: 'must start with /' };
  const segments = pattern.slice(1).split('/');
  if (segments.length > maxSegments) return { refused: `has more than ${maxSegments} segments` };
  const deep = segments.indexOf('{**}');
  for (const s of segments) {
    if (s === '{*}' || s === '{**}') continue;
    if (s.includes('{') || s.includes('}') || s.includes('*')) {
      return { refused: `${s} mixes operators and text` };
    }
  }
  if (deep >= 0 && segments.slice(deep + 1).some((s) => s === '{*}' || s === '{**}')) {
    return { refused: '{**} must be the last operator' };
  }
  const fits = (want: string, have: string): boolean =>
    want === '{*}' ? have !== '' : want === have;
  if (deep < 0) {
    return ({ first }) =>
      first.length === segments.length && segments.every((w, i) => fits(w, first[i] ?? ''));
  }
  const head = segments.slice(0, deep);
  const tail = segments.slice(deep + 1);
  const end = tail.length > 0 ? `/${tail.join('/')}` : '';
  // `/foo/{**}` needs the slash after foo.
  const least = head.length + Math.max(1, tail.length);
  return ({ path, first }) =>
    first.length >= least && head.every((w, i) => fits(w, first[i] ?? '')) && path.endsWith(end);
}
