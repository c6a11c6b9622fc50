// L4 authorization: policies × connection → allow or deny, with who decided (ztunnel-protocol.md 5).
import type { FaultCode } from '../base/index.ts';
import type { Identity, SpiffeId } from './identity.ts';
import type { PolicyKey } from './keys.ts';
import { matchAccount, matchCidr, matchPair, matchString } from './match.ts';
import type { Applicable } from './policy-store.ts';
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

function matchRule(rule: Rule, c: RbacConnection): boolean {
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

/** Deny first, then allow; dry-run policies are only reported. Missing policies refuse (design.md 6.1). */
export function authorize(applicable: Applicable, c: RbacConnection): Verdict {
  const { policies, missing } = applicable;
  const dryRun = policies.filter((p) => p.dryRun && matchPolicy(p, c)).map((p) => p.key);
  for (const p of policies) {
    if (p.action === 'Deny' && !p.dryRun && matchPolicy(p, c)) {
      return { allow: false, code: 'POLICY_DENIED', by: p.key, dryRun };
    }
  }
  if (missing[0] !== undefined) {
    return { allow: false, code: 'POLICY_PENDING', by: missing[0], dryRun };
  }
  let allows: PolicyKey | undefined;
  for (const p of policies) {
    if (p.action !== 'Allow' || p.dryRun) continue;
    allows ??= p.key;
    if (matchPolicy(p, c)) return { allow: true, by: p.key, dryRun };
  }
  if (allows === undefined) return { allow: true, dryRun };
  return { allow: false, code: 'POLICY_NOT_ALLOWED', by: allows, dryRun };
}
