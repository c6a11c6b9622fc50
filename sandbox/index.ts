// Door of the sandbox: start one in this process, or find one that runs.
export { type Sandbox, type SandboxOptions, startSandbox } from './app.ts';
export {
  type PodRow,
  purge,
  readState,
  readStatus,
  type SandboxState,
  type SandboxStatus,
} from './state.ts';
