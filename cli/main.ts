#!/usr/bin/env node
// ambientctl: parses the command line, runs one command, turns every failure into one line and a code.
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Kept beside the packages: half of a command's time is compiling them, the same each time.
enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/ambientctl'));
const { CommanderError } = await import('commander');
const { CliError, errorLine } = await import('./errors.ts');
const { buildProgram } = await import('./program.ts');

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `ambientctl … | head` closes our output: that is no failure.
  if (error.code === 'EPIPE') process.exit(0);
});

try {
  await (await buildProgram(process.argv.slice(2))).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // commander has printed its own message; help and version are no failures.
    process.exitCode = error.exitCode === 0 || error.code === 'commander.helpDisplayed' ? 0 : 1;
  } else {
    process.stderr.write(errorLine(error));
    process.exitCode = error instanceof CliError ? error.exitCode : 1;
  }
}
