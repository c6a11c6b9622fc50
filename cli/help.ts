// The help of the whole command tree as text, 100 columns wide.
import type { Command } from 'commander';
import { buildProgram } from './program.ts';

export interface HelpSection {
  /** `ambientctl verify mtls`. */
  readonly name: string;
  readonly text: string;
}

function sectionsOf(command: Command, path: string): HelpSection[] {
  const name = `${path}${command.name()}`;
  let text = '';
  command.configureOutput({
    getOutHelpWidth: () => 100,
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  const inner = command.commands.filter((c) => !c.name().startsWith('__'));
  return [{ name, text: text.trimEnd() }, ...inner.flatMap((c) => sectionsOf(c, `${name} `))];
}

export async function renderHelp(): Promise<HelpSection[]> {
  return sectionsOf(await buildProgram(), '');
}
