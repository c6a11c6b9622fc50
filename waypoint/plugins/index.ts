// Door of the waypoint's plugins: what phases need, and what a plugin's author writes and tests against.
export { applyEdits, type HookAnswer, type Refusal } from './answers.ts';
export type {
  Hook,
  Plugin,
  PluginContext,
  PluginEndpoint,
  PluginLogEntry,
  PluginRequest,
} from './contract.ts';
export { PluginFiles } from './files.ts';
export { checked, fakeContext, fakeRequest, fakeResponse } from './kit.ts';
export { Plugins, type PluginSpec, pluginSpec } from './plugins.ts';
