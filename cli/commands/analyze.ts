// `ambientctl analyze`: what is wrong, or does nothing, in the objects of a mesh; live, on files, or both.
import { readFileSync, statSync } from 'node:fs';
import { Command } from 'commander';
import { codes, type Code, isCode, type Level } from '../analyze/codes.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { CliError } from '../errors.ts';
import { printTable } from '../output.ts';
import type { Message } from '../analyze/analyze.ts';
import type { Loaded } from '../analyze/snapshot.ts';
import type { Unreadable } from '../analyze/read.ts';

const foundIssues = 79;
const unreadable = 65;

const help = `
Every message has a code; docs/reference/analyze.md explains each.

Exit codes:
  0   nothing at or above --failure-threshold; always with -o json or yaml, as istioctl
  1   usage, or the cluster cannot be reached
  65  a file cannot be read
  79  messages at or above --failure-threshold

Examples:
  ambientctl analyze -n shop
  ambientctl analyze -A -o json
  ambientctl analyze --use-kube=false -f shop.yaml --failure-threshold Warning
  ambientctl analyze -S "IST0118=Service *"
`;

interface Flags {
  readonly filename: readonly string[];
  readonly useKube: string;
  readonly allNamespaces?: boolean;
  readonly failureThreshold: string;
  readonly outputThreshold: string;
  readonly suppress: readonly string[];
  readonly listCodes?: boolean;
  readonly output: string;
}

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

function readLevel(text: string, flag: string): Level {
  const levels: readonly Level[] = ['Error', 'Warning', 'Info'];
  const hit = levels.find((l) => l.toLowerCase() === text.toLowerCase());
  if (!hit) throw new CliError(`${flag} is one of ${levels.join(', ')}, not "${text}"`);
  return hit;
}

function readBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new CliError(`--use-kube is true or false, not "${text}"`);
}

const formats = ['log', 'json', 'yaml'] as const;

async function loadFiles(
  files: readonly string[],
  namespace: string,
): Promise<{ loaded: Loaded[]; bad: Unreadable[] }> {
  const { readObjects } = await import('../analyze/read.ts');
  const loaded: Loaded[] = [];
  const bad: Unreadable[] = [];
  for (const file of files) {
    let text: string;
    try {
      if (file !== '-' && statSync(file).isDirectory()) throw new Error('it is a directory');
      text = readFileSync(file === '-' ? 0 : file, 'utf8');
    } catch (error) {
      throw new CliError(
        `cannot read ${file}: ${error instanceof Error ? error.message : 'failed'}`,
      );
    }
    const read = readObjects(text, file, namespace);
    loaded.push(...read.loaded);
    bad.push(...read.bad);
  }
  return { loaded, bad };
}

function line(m: Message): string {
  const at = m.reference === undefined ? '' : ` ${m.reference}`;
  const path = m.path === '' ? '' : ` (${m.path})`;
  return `${m.level} [${m.code}] (${m.origin}${at}) ${m.message}${path}\n`;
}

function listCodes(): string {
  const rows = (Object.keys(codes) as Code[]).map((c) => [
    c,
    codes[c].level,
    codes[c].name,
    codes[c].means,
  ]);
  return printTable([['CODE', 'LEVEL', 'NAME', 'MEANING'], ...rows]);
}

async function run(names: readonly string[], f: Flags, globals: GlobalFlags): Promise<void> {
  const format = formats.find((x) => x === (f.output === 'short' ? 'log' : f.output));
  if (!format) throw new CliError(`output format "${f.output}" not supported`);
  const failure = readLevel(f.failureThreshold, '--failure-threshold');
  const shown = readLevel(f.outputThreshold, '--output-threshold');
  if (f.listCodes === true) {
    process.stdout.write(listCodes());
    return;
  }
  for (const rule of f.suppress) {
    const code = rule.split('=')[0] ?? '';
    if (!isCode(code)) throw new CliError(`--suppress "${rule}": there is no code ${code}`);
  }
  const files = [...f.filename, ...names];
  const live = readBoolean(f.useKube);
  if (!live && files.length === 0) throw new CliError('--use-kube=false needs files');
  const [{ analyze, reaches, suppressor }, { Snapshot }] = await Promise.all([
    import('../analyze/analyze.ts'),
    import('../analyze/snapshot.ts'),
  ]);
  let hidden: (m: Message) => boolean;
  try {
    hidden = suppressor(f.suppress);
  } catch (error) {
    throw new CliError(`--suppress ${error instanceof Error ? error.message : ''}`);
  }
  const kube = live ? await connect(globals) : undefined;
  const namespace = globals.namespace ?? kube?.namespace ?? 'default';
  const { loaded, bad } = await loadFiles(files, namespace);
  const { loadLive } = await import('../analyze/live.ts');
  const fromCluster = kube ? await loadLive(kube) : [];
  const snapshot = new Snapshot([...fromCluster, ...loaded], {
    clusterId: 'Kubernetes',
    trustDomain: 'cluster.local',
    clusterDomain: 'cluster.local',
    rootNamespace: globals.istioNamespace,
    network: '',
  });
  if (kube && f.allNamespaces !== true && !snapshot.get('Namespace', '', namespace)) {
    process.stderr.write(`namespace "${namespace}" not found\n`);
    return;
  }
  const everything = f.allNamespaces === true || (!live && globals.namespace === undefined);
  const here = (m: Message): boolean =>
    everything ||
    m.namespace === namespace ||
    (m.kind === 'Namespace' && m.resource === namespace) ||
    // What was asked about by file is always told.
    m.reference !== undefined;
  const all = analyze(snapshot).filter((m) => here(m) && !hidden(m));
  const messages = all.filter((m) => reaches(m.level, shown));
  await print(format, messages, bad);
  if (bad.length > 0) {
    process.exitCode = unreadable;
    return;
  }
  const target = everything
    ? live
      ? 'all namespaces'
      : files.join(', ')
    : `namespace: ${namespace}`;
  if (format !== 'log') return;
  if (all.some((m) => reaches(m.level, failure))) {
    process.stderr.write(`Error: Analyzers found issues when analyzing ${target}.\n`);
    process.stderr.write('docs/reference/analyze.md explains the codes.\n');
    process.exitCode = foundIssues;
  } else if (messages.length === 0) {
    process.stderr.write(`✔ No validation issues found when analyzing ${target}.\n`);
  }
}

async function print(
  format: (typeof formats)[number],
  messages: readonly Message[],
  bad: readonly Unreadable[],
): Promise<void> {
  for (const b of bad) process.stderr.write(`Error: ${b.file}: ${b.message}\n`);
  if (format === 'json') process.stdout.write(`${JSON.stringify(messages, null, 2)}\n`);
  else if (format === 'yaml') {
    const { stringify } = await import('yaml');
    process.stdout.write(stringify(messages));
  } else process.stdout.write(messages.map(line).join('') || '\n');
}

export function analyzeCommand(): Command {
  return new Command('analyze')
    .summary('what is wrong, or does nothing, in the objects of a mesh')
    .description(
      'Looks at all objects of the mesh together: references that lead nowhere, policies that cannot be enforced, workloads outside, waypoints that are missing. With files they are taken as if they were applied. Changes nothing.',
    )
    .argument('[files...]', 'YAML files, - for standard input; the same as -f')
    .option(
      '-f, --filename <file>',
      'YAML file, - for standard input; may be repeated',
      collect,
      [],
    )
    .option('-k, --use-kube <bool>', 'look at the cluster too', 'true')
    .option('-A, --all-namespaces', 'messages about every namespace')
    .option('--failure-threshold <level>', 'exit 79 from this level on', 'Error')
    .option('--output-threshold <level>', 'show messages from this level on', 'Info')
    .option('-S, --suppress <rule>', 'hide a message: "CODE=KIND NAMESPACE/NAME"', collect, [])
    .option('-L, --list-codes', 'every code with its meaning')
    .option('-o, --output <format>', 'log, json or yaml', 'log')
    .addHelpText('after', help)
    .action((names: readonly string[], f: Flags, self: Command) =>
      run(names, f, self.optsWithGlobals<GlobalFlags>()),
    );
}
