// Carries out what rules-plan.ts says, in a pod's network namespace.
import { type NamespaceFd, runIp, runNft } from '../core/linux/index.ts';
import { noRules, podRules, policyRoutes, type RuleFacts, type RuleStage } from './rules-plan.ts';

/** Rejects with the tools' words; the rules are replaced as a whole or not at all. */
export async function applyRules(
  ns: NamespaceFd,
  stage: RuleStage,
  facts: RuleFacts,
): Promise<void> {
  // They stay until the rules are removed.
  if (stage === 'capture') await routes(ns, 'add', facts.ipv6);
  await runNft(podRules(stage, facts), ns);
}

export async function removeRules(ns: NamespaceFd): Promise<void> {
  await runNft(noRules(), ns);
  await routes(ns, 'del', true);
}

/** What is there already, or is gone already, and a kernel without IPv6, are no errors. */
const harmless = /File exists|No such|Cannot find|not supported|IPv6 is disabled|Command failed/;

async function routes(ns: NamespaceFd, how: 'add' | 'del', ipv6: boolean): Promise<void> {
  for (const family of ipv6 ? ([4, 6] as const) : ([4] as const)) {
    try {
      await runIp(policyRoutes(how), ns, { force: true, family });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      const bad = text.split('\n').filter((line) => line !== '' && !harmless.test(line));
      if (bad.length > 0) throw new Error(bad.join('; '), { cause: error });
    }
  }
}
