// Limits on requests, prepared: whom a limit counts, and by what (waypoint-l7.md 10). The counts live as long as the
// configuration of a limit does: a changed policy begins anew, an unchanged one goes on.
import { namespacedHost } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type BucketPlan, Buckets } from '../balance/bucket.ts';
import type { AccessFacts } from './access.ts';
import type { Cluster } from './cluster.ts';
import type { CompileContext } from './faults.ts';
import { textTest } from './texts.ts';
import { claimAt, claimTexts } from './token.ts';

/** Keys that one limit counts apart; more share one count. */
const maxKeys = 10_000;
const maxKeyLength = 200;

export interface SharedService {
  readonly cluster: Cluster;
  readonly timeoutMs: number;
  readonly failClosed: boolean;
  readonly domain: string;
}

export interface RateLimit {
  readonly policy: string;
  readonly name: string;
  readonly plan: BucketPlan;
  readonly dryRun: boolean;
  readonly shared: SharedService | undefined;
  readonly buckets: Buckets;
  matches(f: AccessFacts): boolean;
  /** What the request is counted by: kind and value of each key. */
  entries(f: AccessFacts): readonly (readonly [string, string])[];
}

type Read = (f: AccessFacts) => string;

/** Absent values count together: leaving one out is no way around a limit. */
function reader(k: wire.L7RateKey): readonly [string, Read] | undefined {
  switch (k.of) {
    case 'identity':
      return ['identity', (f) => f.principal ?? ''];
    case 'path':
      return ['path', (f) => f.http?.path ?? ''];
    case 'method':
      return ['method', (f) => f.http?.method ?? ''];
    case 'address':
      return ['address', (f) => f.sourceIp];
    case 'header': {
      const name = (k.header ?? '').toLowerCase();
      const values = (f: AccessFacts) => (f.http?.headers ?? []).filter(([n]) => n === name);
      return [
        `header ${name}`,
        (f) =>
          values(f)
            .map(([, v]) => v)
            .join(','),
      ];
    }
    case 'claim': {
      const path = (k.claim ?? '').split('.');
      const texts = (f: AccessFacts) =>
        f.http?.user ? claimTexts(claimAt(f.http.user.claims, path), false) : [];
      return [`claim ${k.claim ?? ''}`, (f) => texts(f).join(',')];
    }
    default:
      return undefined;
  }
}

function only(t: wire.L7Texts | null | undefined, of: Read): (f: AccessFacts) => boolean {
  const any = (t?.any ?? []).map((p) => textTest(p));
  return any.length === 0 ? () => true : (f) => any.some((test) => test(of(f)));
}

function compileOne(r: wire.L7RateLimit, c: CompileContext): RateLimit | undefined {
  if (r.requests < 1 || r.unitMs < 1) {
    c.faults.add(`rate limit ${r.policy} ${r.name}: requests and unit must be above 0`);
    return undefined;
  }
  const readers = r.by.map(reader);
  if (readers.some((x) => !x)) c.faults.add(`rate limit ${r.policy} ${r.name}: unknown key`);
  const known = readers.filter((x) => x !== undefined);
  const path = only(r.paths, (f) => f.http?.path ?? '');
  const method = only(r.methods, (f) => f.http?.method ?? '');
  const plan = { tokens: r.requests, perMs: r.unitMs, burst: r.burst || r.requests };
  const { shared: s } = r;
  return {
    policy: r.policy,
    name: r.name,
    plan,
    dryRun: r.dryRun,
    shared: s
      ? {
          cluster: c.cluster(namespacedHost(s.namespace, s.hostname), s.port, ''),
          timeoutMs: s.timeoutMs || 20,
          failClosed: s.failClosed,
          domain: s.domain,
        }
      : undefined,
    buckets: new Buckets(plan, maxKeys),
    matches: (f) => path(f) && method(f),
    entries: (f) => known.map(([kind, read]) => [kind, read(f).slice(0, maxKeyLength)] as const),
  };
}

/** Absent = none. `before` keeps the counts of limits that are as they were. */
export function compileRateLimits(
  all: readonly wire.L7RateLimit[],
  c: CompileContext,
  before: ReadonlyMap<string, RateLimit> = new Map(),
): ReadonlyMap<string, RateLimit> | undefined {
  if (all.length === 0) return undefined;
  const out = new Map<string, RateLimit>();
  for (const r of all) {
    const key = JSON.stringify(r);
    const made = compileOne(r, c);
    const old = before.get(key);
    if (made) out.set(key, old ? { ...made, buckets: old.buckets } : made);
  }
  return out;
}

/** One text for all values, so that no two sets of values are the same. */
export const keyOf = (entries: readonly (readonly [string, string])[]): string =>
  entries.map(([, v]) => `${v.length}:${v}`).join('') || '0:';
