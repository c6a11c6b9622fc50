// Door of cli, for the documents and tests: the help of every command, the messages of `analyze`, and what the
// demo does to a sandbox.
export { type CodeRow, codes as analysisCodes } from './analyze/codes.ts';
export { World, type RequestLoop } from './demo/world.ts';
export { renderHelp } from './help.ts';
export { startDetached, stopSandbox } from './sandbox/up.ts';
