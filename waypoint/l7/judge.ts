// What the policies of a service say to one request, for tools: the compilation and the decision of traffic itself,
// with the rule that matched in each policy.
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type AccessFacts, compileAccess } from './access.ts';
import { Faults } from './faults.ts';

export interface ConsideredPolicy {
  readonly key: string;
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM' | 'AUDIT';
  readonly dryRun: boolean;
  /** CUSTOM: who is asked when it matches. */
  readonly provider: string;
  /** Zero-based; absent = no rule matches. */
  readonly rule?: number;
  readonly decided: boolean;
}

export interface AccessAnswer {
  readonly allow: boolean;
  /** The policy that denied or allowed; absent = none speaks of it, or no ALLOW policy allows it. */
  readonly by?: string;
  /** Providers that are asked first, whose answer nobody knows beforehand. */
  readonly asks: readonly string[];
  readonly considered: readonly ConsideredPolicy[];
}

/** Of a policy as a waypoint has it. */
export const actionName = (action: number): ConsideredPolicy['action'] => {
  if (action === L7PolicyAction.ALLOW) return 'ALLOW';
  if (action === L7PolicyAction.CUSTOM) return 'CUSTOM';
  return action === L7PolicyAction.AUDIT ? 'AUDIT' : 'DENY';
};

/** The first rule that matches, found by judging each as a policy of its own. */
function matchedRule(p: wire.L7AccessPolicy, facts: AccessFacts): number | undefined {
  const action = p.action === L7PolicyAction.ALLOW ? L7PolicyAction.ALLOW : L7PolicyAction.DENY;
  const found = p.rules.findIndex((rule) => {
    const alone = { ...p, action, dryRun: false, rules: [rule] };
    const { allow } = compileAccess([alone], new Faults()).judge(facts);
    return allow === (action === L7PolicyAction.ALLOW);
  });
  return found < 0 ? undefined : found;
}

export function judgeAccess(
  policies: readonly wire.L7AccessPolicy[],
  facts: AccessFacts,
): AccessAnswer {
  const verdict = compileAccess(policies, new Faults()).judge(facts);
  const considered = policies.map((p): ConsideredPolicy => {
    const rule = matchedRule(p, facts);
    return {
      key: p.key,
      action: actionName(p.action),
      dryRun: p.dryRun,
      provider: p.provider,
      ...(rule !== undefined && { rule }),
      decided: verdict.by === p.key,
    };
  });
  const asked = considered.filter((p) => p.action === 'CUSTOM' && p.rule !== undefined);
  return {
    allow: verdict.allow,
    ...(verdict.by !== undefined && { by: verdict.by }),
    asks: [...new Set(asked.map((p) => p.provider))],
    considered,
  };
}
