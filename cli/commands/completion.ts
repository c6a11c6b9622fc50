// Shell completion: `ambientctl completion SHELL` prints a script that asks `ambientctl __complete`.
import { Command } from 'commander';
import { CliError } from '../errors.ts';

const scripts = new Map<string, string>([
  [
    'bash',
    `_ambientctl() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(ambientctl __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _ambientctl ambientctl
`,
  ],
  [
    'zsh',
    `#compdef ambientctl
_ambientctl() {
  local -a found
  found=("\${(@f)$(ambientctl __complete -- "\${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)}")
  compadd -a found
}
compdef _ambientctl ambientctl
`,
  ],
  [
    'fish',
    `complete -c ambientctl -f -a '(ambientctl __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
  ],
]);

/** Candidates for the last word: sub-commands, or flags once it starts with a dash. Pure. */
export function complete(program: Command, words: readonly string[]): string[] {
  let at = program;
  for (const word of words.slice(0, -1)) {
    const next = at.commands.find((c) => c.name() === word || c.aliases().includes(word));
    if (next) at = next;
  }
  const last = words.at(-1) ?? '';
  const flags = [...at.options, ...program.options].map((o) => o.long ?? o.short ?? '');
  const names = at.commands.map((c) => c.name()).filter((n) => !n.startsWith('__'));
  const all = last.startsWith('-') ? [...flags, '--help'] : names;
  return [...new Set(all)].filter((c) => c.startsWith(last)).toSorted();
}

export function completionCommands(program: Command): Command[] {
  const script = new Command('completion')
    .summary('shell completion script')
    .description('Prints a completion script for a shell.')
    .argument('<shell>', 'bash, zsh or fish')
    .addHelpText('after', '\nExample:\n  source <(ambientctl completion bash)\n')
    .action((shell: string) => {
      const text = scripts.get(shell);
      if (text === undefined)
        throw new CliError(`shell "${shell}" is not known; use bash, zsh or fish`);
      process.stdout.write(text);
    });
  const candidates = new Command('__complete').argument('[words...]').action((words: string[]) => {
    process.stdout.write(`${complete(program, words).join('\n')}\n`);
  });
  return [script, candidates];
}
