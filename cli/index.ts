// Door of cli, for the documents and tests: the help of every command, and what the demo does to a sandbox.
export { World, type RequestLoop } from './demo/world.ts';
export { renderHelp } from './help.ts';
export { startDetached, stopSandbox } from './sandbox/up.ts';
