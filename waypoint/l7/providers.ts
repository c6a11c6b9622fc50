// External authorizers, and which CUSTOM policies ask them (waypoint-l7.md 6.9), prepared.
import { namespacedHost } from '../../core/model/index.ts';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type AccessFacts, compileRule } from './access.ts';
import { AccessView } from './access-view.ts';
import type { Cluster } from './cluster.ts';
import type { CompileContext } from './faults.ts';

const longestMs = 600_000;
/** A body that is kept for a question, whatever is configured. */
const largestBody = 4 << 20;

export interface AuthProvider {
  readonly name: string;
  /** Nobody to ask: refused. */
  readonly broken: boolean;
  readonly cluster: Cluster;
  readonly timeoutMs: number;
  readonly failOpen: boolean;
  readonly statusOnError: number;
  readonly body:
    | { readonly max: number; readonly partial: boolean; readonly asBytes: boolean }
    | undefined;
  /** Absent = gRPC. */
  readonly http:
    | {
        readonly pathPrefix: string;
        readonly include: readonly string[];
        readonly additional: readonly (readonly [string, string])[];
        readonly upstreamOnAllow: readonly string[];
        readonly downstreamOnAllow: readonly string[];
        readonly downstreamOnDeny: readonly string[];
      }
    | undefined;
}

export interface Asked {
  readonly provider: AuthProvider;
  /** `namespace/name` of the policy. */
  readonly policy: string;
}

export interface ExternalAccess {
  /** Each provider once, for the first policy that asks it. */
  toAsk(f: AccessFacts, when: 'before tokens' | 'after tokens' | 'all'): readonly Asked[];
}

function compileProvider(p: wire.L7AuthProvider, c: CompileContext): AuthProvider {
  const { http: h } = p;
  return {
    name: p.name,
    broken: p.broken,
    cluster: c.cluster(namespacedHost(p.namespace, p.hostname), p.port, ''),
    timeoutMs: p.timeoutMs === 0 ? longestMs : Math.min(p.timeoutMs, longestMs),
    failOpen: p.failOpen,
    statusOnError: p.statusOnError || 403,
    body:
      p.maxBody > 0
        ? { max: Math.min(p.maxBody, largestBody), partial: p.partialBody, asBytes: p.bodyAsBytes }
        : undefined,
    http: h
      ? {
          pathPrefix: h.pathPrefix,
          include: h.include,
          additional: h.additional.map((v) => [v.name.toLowerCase(), v.value] as const),
          upstreamOnAllow: h.upstreamOnAllow,
          downstreamOnAllow: h.downstreamOnAllow,
          downstreamOnDeny: h.downstreamOnDeny,
        }
      : undefined,
  };
}

/** Absent = nobody is ever asked. */
export function compileExternal(
  policies: readonly wire.L7AccessPolicy[],
  providers: readonly wire.L7AuthProvider[],
  c: CompileContext,
): ExternalAccess | undefined {
  const known = new Map(providers.map((p) => [p.name, compileProvider(p, c)]));
  const all = policies
    .filter((p) => p.action === L7PolicyAction.CUSTOM)
    .map((p) => {
      const provider = known.get(p.provider);
      if (!provider) c.faults.add(`provider ${JSON.stringify(p.provider.slice(0, 80))}`);
      const rules = p.rules.map((r) => compileRule(r, true, c.faults));
      return { key: p.key, after: p.afterTokens, provider, rules };
    });
  if (all.length === 0) return undefined;
  return {
    toAsk(f, when) {
      const asked = new Map<string, Asked>();
      const v = new AccessView(f);
      for (const p of all) {
        const now = when === 'all' || p.after === (when === 'after tokens');
        if (!now || !p.provider || asked.has(p.provider.name)) continue;
        if (p.rules.some((test) => test(v)))
          asked.set(p.provider.name, { provider: p.provider, policy: p.key });
      }
      return [...asked.values()];
    },
  };
}
