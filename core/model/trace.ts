// The decision of `authorize` with every policy considered and the rule that matched: the same functions,
// told in full. Pure.
import {
  type Applicable,
  authorize,
  matchPolicy,
  type RbacConnection,
  type Verdict,
} from './authorize.ts';
import type { Policy } from './policy.ts';

export interface PolicyTrace {
  readonly policy: Policy;
  /** Zero-based; absent = no rule matches. */
  readonly rule?: number;
}

export interface VerdictTrace {
  readonly verdict: Verdict;
  readonly considered: readonly PolicyTrace[];
}

export function traceVerdict(applicable: Applicable, c: RbacConnection): VerdictTrace {
  const considered = applicable.policies.map((policy): PolicyTrace => {
    const rule = policy.rules.findIndex((r) => matchPolicy({ ...policy, rules: [r] }, c));
    return { policy, ...(rule >= 0 && { rule }) };
  });
  return { verdict: authorize(applicable, c), considered };
}
