// L4 authorization: policies × connection → allow or deny, with who decided (ztunnel-protocol.md 5).
import type { FaultCode } from '../base/index.ts';
import type { Identity, SpiffeId } from './identity.ts';
import type { PolicyKey } from './keys.ts';
import { matchAccount, matchCidr, matchPair, matchString } from './match.ts';
import type { Match, Policy, Rule } from './policy.ts';

/** The facts a decision is made on. Never from headers: TLS identity and socket addresses only. */
export interface RbacConnection {
  /** The peer's whole SPIFFE id; absent = plaintext. */
  readonly principal?: SpiffeId | undefined;
  /** Its mesh parts; absent too for ids that are not /ns/N/sa/S (they match raw-principal rules only, S17). */
  readonly identity?: Identity | undefined;
  readonly sourceIp: Uint8Array;
  /** Final upstream address and port, after target-port mapping. */
  readonly destinationIp: Uint8Array;
  readonly destinationPort: number;
}

/** The policies that hold for one workload. */
export interface Applicable {
  readonly policies: readonly Policy[];
  /** Named by the workload and not received: the workload refuses until they arrive (design.md 6.1). */
  readonly missing: readonly PolicyKey[];
}

export type Verdict =
  | { readonly allow: true; readonly by?: PolicyKey; readonly dryRun: readonly PolicyKey[] }
  | {
      readonly allow: false;
      readonly code: FaultCode & ('POLICY_DENIED' | 'POLICY_NOT_ALLOWED' | 'POLICY_PENDING');
      /** The policy that denied, the first ALLOW policy that does not allow, or one that is missing. */
      readonly by?: PolicyKey;
      readonly dryRun: readonly PolicyKey[];
    };

const blank = (p: { any: readonly unknown[]; none: readonly unknown[] }): boolean =>
  p.any.length === 0 && p.none.length === 0;

/** A match that constrains nothing is skipped, it does not match (5.3). */
export function isEmptyMatch(m: Match): boolean {
  return (
    blank(m.namespaces) &&
    blank(m.principals) &&
    blank(m.serviceAccounts) &&
    blank(m.sourceIps) &&
    blank(m.destinationIps) &&
    blank(m.destinationPorts)
  );
}

function matchOne(m: Match, c: RbacConnection): boolean {
  const principal = c.principal?.slice('spiffe://'.length);
  const namespace = c.identity?.namespace ?? '';
  return (
    matchPair(m.namespaces, (s) => matchString(s, namespace)) &&
    matchPair(m.principals, (s) => principal !== undefined && matchString(s, principal)) &&
    matchPair(m.serviceAccounts, matchAccount(c.identity)) &&
    matchPair(m.sourceIps, matchCidr(c.sourceIp)) &&
    matchPair(m.destinationIps, matchCidr(c.destinationIp)) &&
    matchPair(m.destinationPorts, (p) => p === c.destinationPort)
  );
}

export function matchRule(rule: Rule, c: RbacConnection): boolean {
  for (const clause of rule) {
    if (clause.length === 0) continue;
    if (!clause.some((m) => !isEmptyMatch(m) && matchOne(m, c))) return false;
  }
  return true;
}

/** Whether any rule of the policy matches; no rules = never. */
export function matchPolicy(p: Policy, c: RbacConnection): boolean {
  return p.rules.some((r) => matchRule(r, c));
}

/** What the policies of a workload say about one connection, before the order of 5.2 is laid on it. */
export interface Findings {
  /** The smallest key of those that match. */
  readonly deny: PolicyKey | undefined;
  readonly allow: PolicyKey | undefined;
  /** The first policy that is named and missing. */
  readonly missing: PolicyKey | undefined;
  /** The smallest key of the ALLOW policies, matching or not. */
  readonly firstAllow: PolicyKey | undefined;
  readonly dryRun: readonly PolicyKey[];
}

/** Deny first, then allow; dry-run policies are only reported. Missing policies refuse (design.md 6.1). */
export function verdictOf({ deny, allow, missing, firstAllow, dryRun }: Findings): Verdict {
  if (deny !== undefined) return { allow: false, code: 'POLICY_DENIED', by: deny, dryRun };
  if (missing !== undefined) return { allow: false, code: 'POLICY_PENDING', by: missing, dryRun };
  if (allow !== undefined) return { allow: true, by: allow, dryRun };
  if (firstAllow === undefined) return { allow: true, dryRun };
  return { allow: false, code: 'POLICY_NOT_ALLOWED', by: firstAllow, dryRun };
}

/**
 * The decision by looking at every rule: the plain meaning, for tools that have a list of policies.
 * Proxies ask `MeshView.judge`, which says the same and looks only at rules that can match.
 */
export function authorize(applicable: Applicable, c: RbacConnection): Verdict {
  const { policies, missing } = applicable;
  const least = (some: readonly Policy[]): PolicyKey | undefined =>
    some.map((p) => p.key).toSorted()[0];
  const enforced = policies.filter((p) => !p.dryRun);
  const allows = enforced.filter((p) => p.action === 'Allow');
  const matching = (p: Policy): boolean => matchPolicy(p, c);
  return verdictOf({
    deny: least(enforced.filter((p) => p.action === 'Deny' && matching(p))),
    missing: missing[0],
    allow: least(allows.filter(matching)),
    firstAllow: least(allows),
    dryRun: policies
      .filter((p) => p.dryRun && matching(p))
      .map((p) => p.key)
      .toSorted(),
  });
}
