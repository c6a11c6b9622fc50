// Door of cli, for the documents and tests: the help of every command.
export { renderHelp } from './help.ts';
