// Path templates of policies (waypoint-l7.md 6.5): `{*}` is one segment, `{**}` zero or more, the last
// operator; literals only around them.

export function compileTemplate(
  pattern: string,
): ((path: string) => boolean) | { readonly refused: string } {
  if (!pattern.startsWith('/')) return { refused: 'must start with /' };
  const segments = pattern.slice(1).split('/');
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
    return (path) => {
      const have = path.slice(1).split('/');
      return have.length === segments.length && segments.every((w, i) => fits(w, have[i] ?? ''));
    };
  }
  const head = segments.slice(0, deep);
  const tail = segments.slice(deep + 1);
  return (path) => {
    if (!path.startsWith('/')) return false;
    const have = path.slice(1).split('/');
    // `/foo/{**}` needs the slash after foo.
    if (have.length < head.length + Math.max(1, tail.length)) return false;
    const back = have.slice(have.length - tail.length);
    return head.every((w, i) => fits(w, have[i] ?? '')) && tail.every((w, i) => w === back[i]);
  };
}
