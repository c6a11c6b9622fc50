// Regular expressions that users write, read where they are translated by the very engine that matches them: one that
// cannot be read is told to its author, and does not keep a waypoint from the rest of what it is told.
import { linearRegex, regexRewrite } from '../../core/base/index.ts';
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';

const mostKnown = 2_000;
const known = new Map<string, string | undefined>();

/** What is said of each is kept: all is translated again with every change. */
function remembered(key: string, look: () => string | undefined): string | undefined {
  if (!known.has(key)) {
    if (known.size >= mostKnown) known.clear();
    known.set(key, look());
  }
  return known.get(key);
}

const shown = (pattern: string): string => JSON.stringify(pattern.slice(0, 80));

/** What is wrong with it; `undefined` = nothing. */
export const expressionFault = (pattern: string): string | undefined =>
  remembered(pattern, () => {
    const made = linearRegex(pattern);
    return typeof made === 'function'
      ? undefined
      : `regular expression ${shown(pattern)}: ${made.refused}`;
  });

export const rewriteFault = (pattern: string, substitution: string): string | undefined =>
  remembered(JSON.stringify([pattern, substitution]), () => {
    const made = regexRewrite(pattern, substitution);
    return typeof made === 'function'
      ? undefined
      : `rewrite of ${shown(pattern)} by ${shown(substitution)}: ${made.refused}`;
  });

/** Of the first expression in it that cannot be read. */
export function matchFault(m: Draft<wire.L7RouteMatch>): string | undefined {
  const values = [
    ...(m.headers ?? []),
    ...(m.query ?? []),
    ...(m.withoutHeaders ?? []),
    m.authority,
    m.scheme,
    m.methodMatch,
  ];
  const patterns = values.flatMap((v) => (v?.regex ? [v.value ?? ''] : []));
  if (m.pathKind === L7PathKind.REGEX) patterns.push(m.path ?? '');
  return patterns.map(expressionFault).find((f) => f !== undefined);
}
