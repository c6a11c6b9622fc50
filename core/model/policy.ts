// An L4 authorization policy (istio.security.Authorization, ztunnel-protocol.md 5 and 6.3).
import type { Cidr } from '../base/index.ts';
import type { PolicyKey } from './keys.ts';

export type StringMatch =
  | { readonly kind: 'exact'; readonly text: string }
  | { readonly kind: 'prefix'; readonly text: string }
  | { readonly kind: 'suffix'; readonly text: string }
  | { readonly kind: 'presence' };

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Positive and negated values of one field; both empty = no constraint. */
export interface Pair<T> {
  readonly any: readonly T[];
  readonly none: readonly T[];
}

/** Fields are AND-ed, values of one field OR-ed. */
export interface Match {
  readonly namespaces: Pair<StringMatch>;
  readonly principals: Pair<StringMatch>;
  readonly serviceAccounts: Pair<ServiceAccountMatch>;
  readonly sourceIps: Pair<Cidr>;
  readonly destinationIps: Pair<Cidr>;
  readonly destinationPorts: Pair<number>;
}

/** Matches are OR-ed; no matches at all = true. */
export type Clause = readonly Match[];
/** Clauses are AND-ed; no clauses at all = always. */
export type Rule = readonly Clause[];

export type PolicyScope = 'Global' | 'Namespace' | 'WorkloadSelector';

export interface Policy {
  readonly key: PolicyKey;
  readonly name: string;
  readonly namespace: string;
  readonly scope: PolicyScope;
  readonly action: 'Allow' | 'Deny';
  readonly dryRun: boolean;
  /** OR-ed; none = never matches. */
  readonly rules: readonly Rule[];
}

const none = { any: [], none: [] } as const;

/** A match that constrains nothing; spread it and set the fields that matter. */
export const emptyMatch: Match = {
  namespaces: none,
  principals: none,
  serviceAccounts: none,
  sourceIps: none,
  destinationIps: none,
  destinationPorts: none,
};
