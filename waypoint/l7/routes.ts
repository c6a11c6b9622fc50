// Rules of a port as received → what a request that meets one is done with.
import type { RegexRewrite } from '../../core/base/index.ts';
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { RequestHead } from '../http/exchange.ts';
import { type Backend, compileBackend } from './backend.ts';
import type { CompileContext } from './faults.ts';
import { type Caller, compileEntry, Matcher, type Meter, valueTest } from './match.ts';

export interface CompiledRule {
  readonly route: string;
  readonly name: string;
  readonly filters: wire.L7RouteFilters | undefined;
  /** Instead of the filter's own list of origins, where it is given as matches. */
  readonly corsOrigin: ((origin: string) => boolean) | undefined;
  readonly backends: readonly Backend[];
  readonly mirrors: readonly { readonly backend: Backend; readonly share: number }[];
  readonly requestTimeoutMs: number;
  readonly backendTimeoutMs: number;
  readonly retry: wire.L7RetryPolicy | undefined;
  readonly fault: wire.L7Fault | undefined;
  readonly direct: wire.L7DirectResponse | undefined;
  /** Instead of the filter's own change of the path, where it is by a regular expression. */
  readonly rewritePath: RegexRewrite | undefined;
  readonly session: wire.L7Session | undefined;
  readonly broken: boolean;
  /** The prefix of the match that hit, for ReplacePrefixMatch; rules with such a filter have one match. */
  readonly prefix: string;
}

export interface RouteTable {
  find(head: RequestHead, caller: Caller, meter?: Meter): CompiledRule | undefined;
}

function compileRule(r: wire.L7RouteRule, c: CompileContext): Omit<CompiledRule, 'prefix'> {
  const mirrors = (r.filters?.mirrors ?? []).flatMap((m) => {
    if (!m.backend) return [];
    const share = m.denominator === 0 ? 1 : m.numerator / m.denominator;
    return [{ backend: compileBackend(m.backend, c), share }];
  });
  const path = r.filters?.rewrite?.path;
  const change = path?.change === 'regex' ? path.regex : undefined;
  const rewritePath = change && c.faults.rewrite(change.pattern, change.substitution);
  const origins = (r.filters?.cors?.originMatches ?? []).map((m) => valueTest(m, c.faults));
  return {
    route: r.route,
    name: r.name,
    filters: r.filters ?? undefined,
    corsOrigin: origins.length > 0 ? (origin) => origins.some((t) => t(origin)) : undefined,
    backends: r.backends.map((b) => compileBackend(b, c)),
    mirrors,
    requestTimeoutMs: r.requestTimeoutMs,
    backendTimeoutMs: r.backendTimeoutMs,
    retry: r.retry ?? undefined,
    fault: r.fault ?? undefined,
    direct: r.direct ?? undefined,
    session: r.session ?? undefined,
    rewritePath: rewritePath ?? undefined,
    broken: r.broken,
  };
}

const prefixKinds = new Set<number>([L7PathKind.PREFIX, L7PathKind.STRING_PREFIX]);

export function compileTable(t: wire.L7RouteTable, c: CompileContext): RouteTable {
  const rules = t.rules.map((r) => compileRule(r, c));
  const matcher = new Matcher<CompiledRule>();
  for (const [order, { match, rule: index }] of t.entries.entries()) {
    const rule = rules[index];
    if (!rule || !match) {
      c.faults.add('a route entry without a rule or match');
      continue;
    }
    const prefix = prefixKinds.has(match.pathKind) ? match.path : '';
    matcher.add(match, compileEntry(match, { ...rule, prefix }, order, c.faults), c.faults);
  }
  return matcher;
}
