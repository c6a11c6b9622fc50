// Kubernetes' own variable expansion in command, args and env: `$(NAME)`; `$$(NAME)` stays as
// `$(NAME)`; a name nobody defined stays as written. Pure.

export function expand(text: string, variables: ReadonlyMap<string, string>): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '$' || i + 1 >= text.length) {
      out += text[i];
      continue;
    }
    const next = text[i + 1];
    if (next === '$') {
      out += '$';
      i++;
    } else if (next === '(') {
      const end = text.indexOf(')', i + 2);
      if (end < 0) {
        out += '$(';
        i++;
        continue;
      }
      const name = text.slice(i + 2, end);
      out += variables.get(name) ?? `$(${name})`;
      i = end;
    } else out += '$';
  }
  return out;
}
