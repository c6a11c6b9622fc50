// `ambientctl sandbox`: a mesh on this machine, without a cluster.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { silentLog } from '../../core/base/index.ts';
import type { KubeClient } from '../../core/kube/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { CliError } from '../errors.ts';
import { printData, printTable, readFormat } from '../output.ts';
import { parseReference, resolvePod } from '../refs.ts';

interface DirFlag {
  readonly dir: string;
}

const dirOption = ['--dir <dir>', 'folder of the sandbox', '.ambient'] as const;

const limits = (driver: string): string =>
  driver === 'netns'
    ? 'pods are isolated by network namespaces alone: they share this machine’s files and users.'
    : 'TCP and IPv4 only, one node; processes outside pods are not kept out. This shows the mesh, it does not isolate.';

function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new CliError(`--timeout must be a number of seconds, is "${text}"`);
  return value * 1000;
}

function upCommand(): Command {
  return new Command('up')
    .summary('start a mesh on this machine')
    .description(
      'Starts a Kubernetes-compatible API, a runner of pods as plain processes, and the mesh’s own programs. Needs no cluster and no root.',
    )
    .option('-d, --detach', 'return when API and mesh are ready; the sandbox goes on')
    .option(
      '--driver <driver>',
      'loopback, netns (network namespaces: as root, or where users may make them) or auto',
      'auto',
    )
    .option('--nodes <count>', 'nodes of driver netns', '1')
    .option(...dirOption)
    .option('--no-mesh', 'the API and runner alone')
    .option('--timeout <seconds>', 'how long to wait for readiness', '60')
    .addHelpText(
      'after',
      '\nExample:\n  ambientctl sandbox up --detach\n  eval "$(ambientctl sandbox env)"\n  kubectl get pods -A\n',
    )
    .action(
      async (
        f: DirFlag & {
          detach?: boolean;
          driver: string;
          nodes: string;
          mesh: boolean;
          timeout: string;
        },
      ) => {
        const { checkDriver, nodeCount, startDetached, stopSandbox, untilEnd } = await import(
          '../sandbox/up.ts'
        );
        const { readState } = await import('../../sandbox/index.ts');
        const dir = resolve(f.dir);
        // One that ran already is not this command’s to end.
        const detach = f.detach === true || readState(dir) !== undefined;
        checkDriver(f.driver);
        const progress = (text: string): void => void process.stderr.write(`${text}\n`);
        const timeoutMs = seconds(f.timeout);
        const status = await startDetached({
          dir: f.dir,
          driver: f.driver,
          nodes: nodeCount(f.nodes),
          mesh: f.mesh,
          timeoutMs,
          progress,
        });
        progress(
          `✔ the sandbox is up: ${status.api}, driver ${status.driver} (${status.means}: ${status.reason})`,
        );
        progress(detach ? `next: eval "$(ambientctl sandbox env)"` : 'Ctrl-C ends it');
        if (detach) return;
        if ((await untilEnd(dir)) === 'gone')
          throw new CliError(`the sandbox has ended; see ${join(dir, 'sandbox.log')}`);
        progress('stopping');
        await stopSandbox(dir, 30_000);
      },
    );
}

function downCommand(): Command {
  return new Command('down')
    .summary('end the sandbox')
    .description(
      'Ends every process of the sandbox. Its data stay for the next start, unless --purge is given.',
    )
    .option(...dirOption)
    .option('--purge', 'remove its folder too')
    .option('--timeout <seconds>', 'how long to wait', '30')
    .addHelpText('after', '\nExample:\n  ambientctl sandbox down --purge\n')
    .action(async (f: DirFlag & { purge?: boolean; timeout: string }) => {
      const { stopSandbox } = await import('../sandbox/up.ts');
      const { purge } = await import('../../sandbox/index.ts');
      const dir = resolve(f.dir);
      const ran = await stopSandbox(dir, seconds(f.timeout));
      process.stderr.write(ran ? '✔ the sandbox is down\n' : `no sandbox runs in ${dir}\n`);
      if (f.purge === true) purge(dir);
    });
}

function statusCommand(): Command {
  return new Command('status')
    .summary('driver, means of capture, pods and mesh programs')
    .description('Shows the running sandbox: driver, means of capture, pods and mesh programs.')
    .option(...dirOption)
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', '\nExample:\n  ambientctl sandbox status -o json\n')
    .action(async (f: DirFlag & { output: string }) => {
      const format = readFormat(f.output);
      const { readState, readStatus } = await import('../../sandbox/index.ts');
      const dir = resolve(f.dir);
      if (!readState(dir)) {
        throw new CliError(
          `no sandbox runs in ${dir}; start one with: ambientctl sandbox up --detach`,
        );
      }
      const s = await readStatus(dir);
      const short = (): string => {
        const mesh = s.mesh.map((m) => [
          m.name,
          m.ip,
          m.ports.join(','),
          String(m.pid ?? ''),
          String(m.ready),
        ]);
        const pods = s.pods.map((p) => [
          p.namespace,
          p.name,
          p.ip,
          String(p.pid ?? ''),
          p.phase,
          String(p.ready),
          String(p.enrolled),
        ]);
        return [
          `driver ${s.driver}, capture by ${s.means}: ${s.reason}\nnodes  ${s.nodes.join(', ')}\napi    ${s.api}\n`,
          printTable([['MESH PROGRAM', 'ADDRESS', 'PORTS', 'PID', 'READY'], ...mesh]),
          printTable([
            ['NAMESPACE', 'POD', 'ADDRESS', 'PID', 'PHASE', 'READY', 'ENROLLED'],
            ...pods,
          ]),
          `limits: ${limits(s.driver)}\n`,
        ].join('\n');
      };
      process.stdout.write(printData(format, s, short));
    });
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function envCommand(): Command {
  return new Command('env')
    .summary('shell lines that point kubectl and ambientctl at the sandbox')
    .description('Prints shell lines that point kubectl and ambientctl at the sandbox.')
    .option(...dirOption)
    .addHelpText('after', '\nExample:\n  eval "$(npx ambientctl sandbox env)"\n')
    .action((f: DirFlag) => {
      const dir = resolve(f.dir);
      if (!existsSync(join(dir, 'kubeconfig')))
        process.stderr.write(
          `no sandbox is in ${dir} yet; start one with: ambientctl sandbox up --detach\n`,
        );
      process.stdout.write(`export KUBECONFIG=${quote(join(dir, 'kubeconfig'))}\n`);
      process.stdout.write(`export PATH=${quote(join(dir, 'bin'))}:"$PATH"\n`);
    });
}

async function connectSandbox(dirText: string): Promise<KubeClient> {
  const { readState } = await import('../../sandbox/index.ts');
  const { connectKube } = await import('../../core/kube/index.ts');
  const dir = resolve(dirText);
  if (!readState(dir)) {
    throw new CliError(`no sandbox runs in ${dir}; start one with: ambientctl sandbox up --detach`);
  }
  const kubeconfig = join(dir, 'kubeconfig');
  return connectKube({ kubeconfig, clock: systemClock, random: systemRandom, log: silentLog });
}

interface PodFlags extends DirFlag {
  readonly container?: string;
}

function execCommand(): Command {
  return new Command('exec')
    .summary('run a command inside a pod')
    .description('Runs a command inside a pod, captured as the pod is. Its exit code becomes ours.')
    .argument('<pod>', 'pod/x, deploy/x or svc/x, optionally with .namespace')
    .argument('<command...>', 'the command, after --')
    .option(...dirOption)
    .option('-c, --container <name>', 'container')
    .option('-i, --stdin', 'pass standard input on')
    .addHelpText(
      'after',
      '\nExample:\n  ambientctl sandbox exec deploy/curl -- curl -sS http://productpage:9080/productpage\n',
    )
    .action(
      async (ref: string, command: string[], f: PodFlags & { stdin?: boolean }, self: Command) => {
        const kube = await connectSandbox(f.dir);
        const { namespace = 'default' } = self.optsWithGlobals<{ namespace?: string }>();
        const pod = await resolvePod(kube, parseReference(ref, namespace));
        const where = pod.metadata.namespace ?? namespace;
        const run = await kube.exec(
          where,
          pod.metadata.name,
          f.container,
          command,
          f.stdin === true,
        );
        run.stdout.pipe(process.stdout, { end: false });
        run.stderr.pipe(process.stderr, { end: false });
        if (f.stdin === true) process.stdin.pipe(run.stdin);
        process.exitCode = await run.exit;
        if (f.stdin === true) process.stdin.destroy();
      },
    );
}

function logsCommand(): Command {
  return new Command('logs')
    .summary('log lines of a pod')
    .description('Shows the log lines of a pod.')
    .argument('<pod>', 'pod/x, deploy/x, ds/x or svc/x, optionally with .namespace')
    .option(...dirOption)
    .option('-c, --container <name>', 'container')
    .option('-f, --follow', 'go on as lines come')
    .option('--tail <lines>', 'only the last lines')
    .option('-p, --previous', 'of the run before the last restart')
    .addHelpText(
      'after',
      '\nExample:\n  ambientctl sandbox logs ds/ztunnel.istio-system --tail 20\n',
    )
    .action(
      async (
        ref: string,
        f: PodFlags & { follow?: boolean; tail?: string; previous?: boolean },
        self: Command,
      ) => {
        const kube = await connectSandbox(f.dir);
        const { namespace = 'default' } = self.optsWithGlobals<{ namespace?: string }>();
        const pod = await resolvePod(kube, parseReference(ref, namespace));
        const stream = await kube.logs(pod.metadata.namespace ?? namespace, pod.metadata.name, {
          ...(f.container !== undefined && { container: f.container }),
          ...(f.follow === true && { follow: true }),
          ...(f.previous === true && { previous: true }),
          ...(f.tail !== undefined && { tailLines: Number(f.tail) }),
        });
        for await (const part of stream) process.stdout.write(part as Buffer);
      },
    );
}

export function sandboxCommand(): Command {
  const group = new Command('sandbox')
    .summary('a mesh on this machine, without a cluster')
    .description('A mesh on this machine: no cluster, no root. Pods are plain processes.');
  group.addCommand(upCommand());
  group.addCommand(downCommand());
  group.addCommand(statusCommand());
  group.addCommand(envCommand());
  group.addCommand(execCommand());
  group.addCommand(logsCommand());
  return group;
}
