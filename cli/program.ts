// The whole command tree of ambientctl.
import { Command } from 'commander';
import { packageVersion } from '../core/runtime/index.ts';
import { analyzeCommand } from './commands/analyze.ts';
import { authzCommand } from './commands/authz.ts';
import { checkCommand } from './commands/check.ts';
import { completionCommands } from './commands/completion.ts';
import { describeCommand } from './commands/describe.ts';
import { explainCommand } from './commands/explain.ts';
import { installCommands } from './commands/install.ts';
import { ratelimitServerCommand } from './commands/ratelimit-server.ts';
import { sandboxCommand } from './commands/sandbox.ts';
import { verifyCommand } from './commands/verify.ts';
import { versionCommand } from './commands/version.ts';
import { waypointCommand } from './commands/waypoint.ts';
import { ztunnelConfigCommand } from './commands/ztunnel-config.ts';

const examples = `
Examples:
  ambientctl sandbox up --detach            a mesh on this machine
  ambientctl ztunnel-config workloads       who is in the mesh, and how
  ambientctl verify mtls deploy/a svc/b     proof that traffic is mutual TLS
`;

export function buildProgram(): Command {
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
  program.addCommand(analyzeCommand());
  program.addCommand(authzCommand());
  program.addCommand(checkCommand());
  program.addCommand(describeCommand());
  program.addCommand(explainCommand());
  for (const command of installCommands()) program.addCommand(command);
  program.addCommand(ratelimitServerCommand());
  program.addCommand(sandboxCommand());
  program.addCommand(verifyCommand());
  program.addCommand(versionCommand());
  program.addCommand(waypointCommand());
  program.addCommand(ztunnelConfigCommand());
  const [completion, hidden] = completionCommands(program);
  if (completion) program.addCommand(completion);
  if (hidden) program.addCommand(hidden, { hidden: true });
  withGlobals(program, program);
  return program;
}

/** Errors go through main.ts: one line on stderr and an exit code, never a stack. */
function withGlobals(command: Command, program: Command): void {
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error:/, 'Error:')),
  });
  for (const c of command.commands) withGlobals(c, program);
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
