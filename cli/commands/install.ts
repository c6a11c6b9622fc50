// `ambientctl install`, `upgrade`, `uninstall`, `manifests generate` (control-plane.md 8.7, 10).
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { parse, stringify } from 'yaml';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { parseDuration } from '../../core/runtime/index.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { CliError } from '../errors.ts';
import { isOurs } from '../install/plan.ts';
import { Remover } from '../install/remove.ts';
import { defaultValues, readSource, renderObjects } from '../install/render.ts';
import { Installer } from '../install/run.ts';
import { readValues, type Values } from '../install/values.ts';
import { readFormat } from '../output.ts';

interface ValueFlags extends GlobalFlags {
  readonly set: readonly string[];
  readonly values: readonly string[];
  readonly output?: string;
}

interface Flags extends ValueFlags {
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly wait: boolean;
  readonly readinessTimeout: string;
  readonly skipConfirmation?: boolean;
  readonly purge?: boolean;
}

const collect = (value: string, all: readonly string[]): string[] => [...all, value];

function withValues(command: Command): Command {
  return command
    .option('-s, --set <name=value>', 'a value; may be given again', collect, [])
    .option('-f, --values <file>', 'YAML file of values; may be given again', collect, []);
}

function objectsFor(flags: ValueFlags): { objects: KubeObject[]; values: Values } {
  const source = readSource();
  const files = flags.values.map((file): unknown => {
    try {
      return parse(readFileSync(file, 'utf8'));
    } catch (error) {
      throw new CliError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    }
  });
  const values = readValues(defaultValues(source), files, flags.set);
  return { objects: renderObjects(source, values, flags.istioNamespace), values };
}

function timeoutOf(flags: Flags): number {
  const ms = parseDuration(flags.readinessTimeout);
  if (ms === undefined)
    throw new CliError(`--readiness-timeout is no duration: ${flags.readinessTimeout}`);
  return ms;
}

const print = (text: string): void => void process.stdout.write(text);

async function isInstalled(kube: KubeClient, namespace: string): Promise<boolean> {
  const istiod = await kube.get(resources.deployments, namespace, 'istiod');
  return istiod !== undefined && isOurs(istiod);
}

async function install(flags: Flags, verb: 'install' | 'upgrade'): Promise<void> {
  const json = readFormat(flags.output) === 'json';
  const timeoutMs = timeoutOf(flags);
  const { objects } = objectsFor(flags);
  const kube = await connect(flags);
  if (verb === 'upgrade' && !(await isInstalled(kube, flags.istioNamespace)))
    throw new CliError(`no mesh of ours in namespace ${flags.istioNamespace}: use install`);
  const outcome = await new Installer(kube, {
    dryRun: flags.dryRun === true,
    force: flags.force === true,
    wait: flags.wait,
    timeoutMs,
    say: json ? () => {} : (line) => print(`${line}\n`),
  }).install(objects);
  if (json)
    return print(`${JSON.stringify({ dryRun: flags.dryRun === true, ...outcome }, null, 2)}\n`);
  print(flags.dryRun ? 'Nothing was changed: this was a dry run.\n' : '✔ Installation complete\n');
}

async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) throw new CliError('uninstall wants -y where nobody can be asked');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`${question} (y/N) `);
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError('Cancelled.');
}

async function uninstall(flags: Flags): Promise<void> {
  const json = readFormat(flags.output) === 'json';
  const timeoutMs = timeoutOf(flags);
  const source = readSource();
  const all = new Map(defaultValues(source));
  for (const name of source.extras.keys()) all.set(name, true);
  const objects = renderObjects(source, all, flags.istioNamespace);
  const kube = await connect(flags);
  const what = flags.purge
    ? 'This removes the mesh, its kinds with every object of them, its root certificate and its namespace. Proceed?'
    : 'This removes the mesh. Proceed?';
  if (!flags.skipConfirmation && !flags.dryRun) await confirm(what);
  const removed = await new Remover(kube, flags.istioNamespace, {
    purge: flags.purge === true,
    force: flags.force === true,
    dryRun: flags.dryRun === true,
    timeoutMs,
    say: json ? () => {} : (line) => print(`${line}\n`),
  }).remove(objects);
  if (json) print(`${JSON.stringify({ dryRun: flags.dryRun === true, removed }, null, 2)}\n`);
  else
    print(flags.dryRun ? 'Nothing was changed: this was a dry run.\n' : '✔ Uninstall complete\n');
}

const timeout = ['--readiness-timeout <duration>', 'how long to wait for each part', '5m'] as const;

function installing(verb: 'install' | 'upgrade', summary: string, text: string): Command {
  return withValues(new Command(verb).summary(summary).description(text))
    .option('--dry-run', 'the server judges every object, nothing is stored')
    .option('--force', 'take over objects of another installation')
    .option('--no-wait', 'do not wait until it runs')
    .option(...timeout)
    .option('-y, --skip-confirmation', 'nothing is asked in any case; taken for Istio’s scripts')
    .option('-o, --output <format>', 'short or json', 'short')
    .addHelpText(
      'after',
      `\nExamples:\n  ambientctl ${verb} --set image=registry.example/ambient-lite:0.1.0\n  ambientctl ${verb} -f values.yaml --dry-run -o json\n`,
    )
    .action((_: unknown, self: Command) => install(self.optsWithGlobals<Flags>(), verb));
}

export function installCommands(): Command[] {
  const uninstallCommand = new Command('uninstall')
    .summary('remove the mesh')
    .description(
      'Removes the mesh. Refused while pods are in it; with --purge they leave first, and nothing of it remains.',
    )
    .option(
      '--purge',
      'also kinds, namespace, root certificate, waypoints; namespaces leave the mesh',
    )
    .option('--force', 'even while pods are in the mesh: their traffic breaks')
    .option('--dry-run', 'say what would be removed')
    .option(...timeout)
    .option('-y, --skip-confirmation', 'do not ask')
    .option('-o, --output <format>', 'short or json', 'short')
    .addHelpText('after', '\nExample:\n  ambientctl uninstall --purge -y\n')
    .action((_: unknown, self: Command) => uninstall(self.optsWithGlobals<Flags>()));
  const generate = withValues(
    new Command('generate')
      .summary('print every object of an installation')
      .description('Prints what install applies, in its order.'),
  )
    .option('-o, --output <format>', 'yaml or json', 'yaml')
    .addHelpText('after', '\nExample:\n  ambientctl manifests generate --set logFormat=json\n')
    .action((_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ValueFlags>();
      const { objects } = objectsFor(flags);
      if (readFormat(flags.output) === 'json')
        return print(`${JSON.stringify(objects, null, 2)}\n`);
      print(objects.map((o) => stringify(o, { aliasDuplicateObjects: false })).join('---\n'));
    });
  const manifests = new Command('manifests')
    .alias('manifest')
    .summary('the objects of an installation')
    .description('The objects of an installation.');
  manifests.addCommand(generate);
  return [
    installing(
      'install',
      'install the mesh, or bring it to these values',
      'Installs the mesh in order, waits for each part, and says what keeps one from running. May be run again.',
    ),
    installing(
      'upgrade',
      'bring an installation to this version',
      'Like install, where there is one already.',
    ),
    uninstallCommand,
    manifests,
  ];
}
