// Carries out what rules-plan.ts says, in a pod's network namespace.
import { type NamespaceFd, runIp, runNft } from '../core/linux/index.ts';
import { noRules, podRules, policyRoutes, type RuleFacts, type RuleStage } from './rules-plan.ts';

/** Rejects with the tools' words; the rules are replaced as a whole or not at all. */
export async function applyRules(
  ns: NamespaceFd,
  stage: RuleStage,
  facts: RuleFacts,
): Promise<void> {
  await routes(ns, 'add');
  await runNft(podRules(stage, facts), ns);
}

export async function removeRules(ns: NamespaceFd): Promise<void> {
  await runNft(noRules(), ns);
  await routes(ns, 'del');
}

/** What is there already, or is gone already, and a kernel without IPv6, are no errors. */
const harmless = /File exists|No such|Cannot find|not supported|IPv6 is disabled|Command failed/;

async function routes(ns: NamespaceFd, how: 'add' | 'del'): Promise<void> {
  for (const family of [4, 6] as const) {
    try {
      await runIp(policyRoutes(how), ns, { force: true, family });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      const bad = text.split('\n').filter((line) => line !== '' && !harmless.test(line));
      if (bad.length > 0) throw new Error(bad.join('; '), { cause: error });
    }
  }
}
