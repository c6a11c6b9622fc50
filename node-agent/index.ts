// Door of the node agent.
export { applyRules, removeRules } from './rules.ts';
export {
  defaultProbeIp,
  defaultProbeIp6,
  type RuleFacts,
  type RuleStage,
} from './rules-plan.ts';
export { type ZdsPod, ZdsServer, type ZdsServerOptions } from './zds-server.ts';
