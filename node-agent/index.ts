// Door of the node agent.
export { NodeAgent, type NodeAgentDeps } from './agent.ts';
export { type NodeAgentConfig, readConfig } from './config.ts';
export { type NetnsFinder, procFinder, recordFinder } from './netns-finder.ts';
export { applyRules, removeRules } from './rules.ts';
export { defaultProbeIp, defaultProbeIp6, type RuleFacts, type RuleStage } from './rules-plan.ts';
