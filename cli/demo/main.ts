// `npm run demo`: the whole story on this machine, then gone. Progress on stderr, with --json one object
// on stdout.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { silentLog } from '../../core/base/index.ts';
import { connectKube } from '../../core/kube/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { purge, readState } from '../../sandbox/index.ts';
import { CliError, errorLine } from '../errors.ts';
import { checkDriver, nodeCount, startDetached, stopSandbox } from '../sandbox/up.ts';
import { printSummary, runStory, type StoryResult } from './runner.ts';
import { story } from './story.ts';
import { World } from './world.ts';

interface Flags {
  readonly json?: boolean;
  readonly keep?: boolean;
  readonly driver: string;
  readonly nodes: string;
  readonly dir?: string;
}

const colour =
  process.stderr.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
const say = (text: string): void => void process.stderr.write(`${text}\n`);

function chooseDir(flags: Flags): { dir: string; own: boolean } {
  if (flags.dir !== undefined) return { dir: resolve(flags.dir), own: false };
  if (flags.keep === true) return { dir: resolve('.ambient'), own: false };
  return { dir: mkdtempSync(join(tmpdir(), 'ambient-demo-')), own: true };
}

async function cleanUp(dir: string, own: boolean): Promise<void> {
  await stopSandbox(dir, 30_000);
  purge(dir);
  if (own) rmSync(dir, { recursive: true, force: true });
}

function printKept(dir: string): void {
  say(`
The mesh goes on in ${dir}. To look around:
  eval "$(npx ambientctl sandbox env --dir ${dir})"
  kubectl get pods -A
  kubectl exec deploy/curl -- curl -sS http://productpage:9080/productpage
  ambientctl ztunnel-config workloads
  ambientctl verify mtls deploy/curl svc/productpage
  kubectl logs ds/ztunnel -n istio-system
To end it:
  npx ambientctl sandbox down --purge --dir ${dir}`);
}

async function tell(flags: Flags, dir: string): Promise<StoryResult> {
  let driver = flags.driver;
  const steps = story({
    async start(note) {
      const status = await startDetached({
        dir,
        driver: flags.driver,
        nodes: nodeCount(flags.nodes),
        mesh: true,
        timeoutMs: 40_000,
        progress: note,
      });
      driver = status.driver;
      const kubeconfig = join(dir, 'kubeconfig');
      const kube = await connectKube({
        kubeconfig,
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
      });
      return new World(kube, dir);
    },
  });
  return runStory(steps, () => driver, { line: say, colour });
}

async function run(flags: Flags): Promise<void> {
  checkDriver(flags.driver);
  const { dir, own } = chooseDir(flags);
  if (readState(dir)) {
    throw new CliError(
      `a sandbox already runs in ${dir}; end it with: ambientctl sandbox down --dir ${dir}`,
    );
  }
  const interrupted = (): void => {
    say('interrupted, cleaning up');
    void cleanUp(dir, own).finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  let result: StoryResult | undefined;
  try {
    result = await tell(flags, dir);
  } finally {
    if (!(flags.keep === true && result?.ok === true)) await cleanUp(dir, own);
  }
  say(printSummary(result));
  if (flags.keep === true && result.ok) printKept(dir);
  if (flags.json === true) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  process.exit(result.ok ? 0 : 1);
}

const command = new Command('demo')
  .description(
    'Tells the story of the mesh on this machine: plaintext, label, mutual TLS, policy, STRICT, a waypoint.',
  )
  .option('--json', 'the steps as one JSON object on stdout')
  .option('--keep', 'leave the mesh running and print how to look around')
  .option('--driver <driver>', 'loopback, netns or auto: netns where it can be had', 'auto')
  .option('--nodes <count>', 'nodes of driver netns', '1')
  .option('--dir <dir>', 'folder of the sandbox; a temporary one by default')
  .addHelpText(
    'after',
    '\nExamples:\n  npm run demo\n  npm run demo -- --keep\n  npm run -s demo -- --json\n',
  )
  .exitOverride();

try {
  command.parse();
  await run(command.opts<Flags>());
} catch (error) {
  if (!(error instanceof CommanderError)) process.stderr.write(errorLine(error));
  process.exit(error instanceof CommanderError && error.exitCode === 0 ? 0 : 1);
}
