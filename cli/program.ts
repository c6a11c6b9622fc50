// The whole command tree of ambientctl.
import { Command } from 'commander';
import { packageVersion } from '../core/runtime/index.ts';
import { completionCommands } from './commands/completion.ts';

/** Commands by their names and aliases. Each is a file of its own, read only when it is wanted: most of what a short command costs is reading code. */
const loaders: readonly {
  readonly names: readonly string[];
  readonly load: () => Promise<readonly Command[]>;
}[] = [
  {
    names: ['analyze'],
    load: async () => [(await import('./commands/analyze.ts')).analyzeCommand()],
  },
  { names: ['authz'], load: async () => [(await import('./commands/authz.ts')).authzCommand()] },
  { names: ['check'], load: async () => [(await import('./commands/check.ts')).checkCommand()] },
  {
    names: ['describe', 'des'],
    load: async () => [(await import('./commands/describe.ts')).describeCommand()],
  },
  {
    names: ['explain'],
    load: async () => [(await import('./commands/explain.ts')).explainCommand()],
  },
  {
    names: ['install', 'upgrade', 'uninstall', 'manifests', 'manifest'],
    load: async () => (await import('./commands/install.ts')).installCommands(),
  },
  {
    names: ['ratelimit-server'],
    load: async () => [(await import('./commands/ratelimit-server.ts')).ratelimitServerCommand()],
  },
  {
    names: ['sandbox'],
    load: async () => [(await import('./commands/sandbox.ts')).sandboxCommand()],
  },
  { names: ['verify'], load: async () => [(await import('./commands/verify.ts')).verifyCommand()] },
  {
    names: ['version'],
    load: async () => [(await import('./commands/version.ts')).versionCommand()],
  },
  {
    names: ['waypoint'],
    load: async () => [(await import('./commands/waypoint.ts')).waypointCommand()],
  },
  {
    names: ['ztunnel-config', 'zc'],
    load: async () => [(await import('./commands/ztunnel-config.ts')).ztunnelConfigCommand()],
  },
];

const examples = `
Examples:
  ambientctl sandbox up --detach            a mesh on this machine
  ambientctl ztunnel-config workloads       who is in the mesh, and how
  ambientctl verify mtls deploy/a svc/b     proof that traffic is mutual TLS
`;

/**
 * The command tree. With the `words` of a command line, only of the commands that they name; of all of them where
 * they name none, so that help and suggestions know everything.
 */
export async function buildProgram(words: readonly string[] = []): Promise<Command> {
  const program = new Command('ambientctl')
    .description(
      'Run, inspect and prove an ambient mesh: mutual TLS between services without sidecars.',
    )
    .version(packageVersion(), '--version', 'version of this program')
    .option(
      '-c, --kubeconfig <file>',
      'kubeconfig; else $KUBECONFIG, the running sandbox’s, ~/.kube/config',
    )
    .option('--context <name>', 'context of the kubeconfig')
    .option('-n, --namespace <ns>', 'namespace of names that give none')
    .option('-i, --istio-namespace <ns>', 'namespace of the mesh', 'istio-system')
    .showSuggestionAfterError(true)
    .addHelpText('after', examples);
  const named = loaders.filter(({ names }) => names.some((name) => words.includes(name)));
  const wanted = named.length > 0 && !words.includes('__complete') ? named : loaders;
  for (const commands of await Promise.all(wanted.map(({ load }) => load()))) {
    for (const command of commands) program.addCommand(command);
  }
  const [completion, hidden] = completionCommands(program);
  if (completion) program.addCommand(completion);
  if (hidden) program.addCommand(hidden, { hidden: true });
  withGlobals(program, program, program.name());
  return program;
}

/** Errors go through main.ts: one line on stderr and an exit code, never a stack. */
function withGlobals(command: Command, program: Command, path: string): void {
  command.showHelpAfterError(`see: ${path} --help`);
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error:/, 'Error:')),
  });
  for (const c of command.commands) withGlobals(c, program, `${path} ${c.name()}`);
  if (command === program || command.commands.length > 0) return;
  // Istio's tools take these after the sub-command too.
  const taken = new Set(command.options.flatMap((o) => [o.short, o.long]));
  if (!taken.has('-n')) command.option('-n, --namespace <ns>', 'namespace of names that give none');
  if (!taken.has('--kubeconfig')) {
    command.option(
      taken.has('-c') ? '--kubeconfig <file>' : '-c, --kubeconfig <file>',
      'kubeconfig to use',
    );
  }
  if (!taken.has('--context')) command.option('--context <name>', 'context of the kubeconfig');
}
