// `ambientctl ztunnel-config`: what a node proxy knows, in Istio's tables (control-plane.md 8.3).
import { Command, Option } from 'commander';
import { callPod } from '../admin-client.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { CliError } from '../errors.ts';
import { printData, printTable, readFormat } from '../output.ts';
import { ztunnelPods } from '../refs.ts';
import type { Dump } from '../ztunnel/dump.ts';
import { chooseZtunnel, loadDump } from '../ztunnel/source.ts';
import {
  certificateTable,
  connectionTable,
  policyTable,
  serviceTable,
  workloadTable,
} from '../ztunnel/tables.ts';

interface Flags {
  readonly output?: string;
  readonly node?: string;
  readonly file?: string;
  readonly proxyAdminPort: string;
  readonly address?: string;
  readonly workloadNamespace?: string;
  readonly workloadNode?: string;
  readonly serviceNamespace?: string;
  readonly policyNamespace?: string;
  readonly direction?: string;
  readonly raw?: boolean;
  readonly withHeaders?: boolean;
}

function adminPortOf(flags: Flags): number {
  const port = Number(flags.proxyAdminPort);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new CliError(`--proxy-admin-port must be a port, is "${flags.proxyAdminPort}"`);
  }
  return port;
}

function base(name: string, aliases: readonly string[], summary: string): Command {
  return new Command(name)
    .aliases(aliases)
    .summary(summary)
    .description(summary)
    .argument(
      '[pod]',
      'a ztunnel pod, ds/ztunnel, or a workload pod (then the ztunnel of its node)',
    )
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .option('--node <node>', 'ask the ztunnel of this node')
    .option('-f, --file <file>', 'read a config dump from a file, - for standard input')
    .option('--proxy-admin-port <port>', 'admin port of ztunnel', '15000');
}

type Show = (
  source: { dump: Dump; pod?: { namespace: string; name: string } },
  flags: Flags,
) => {
  data: unknown;
  table: string[][];
  gap: number;
};

function view(command: Command, insist: boolean, show: Show): Command {
  return command.action(async (pod: string | undefined, flags: Flags, self: Command) => {
    const format = readFormat(flags.output);
    const globals = self.optsWithGlobals<GlobalFlags>();
    const from = { file: flags.file, node: flags.node, proxyAdminPort: adminPortOf(flags) };
    const source = await loadDump(
      () => connect(globals),
      globals.istioNamespace,
      pod,
      from,
      insist,
    );
    const { data, table, gap } = show(source, flags);
    process.stdout.write(printData(format, data, () => printTable(table, gap)));
  });
}

function logCommand(): Command {
  const command = new Command('log')
    .aliases(['o', 'logging'])
    .summary('show or change log levels of ztunnel')
    .description('Show or change log levels of ztunnel; of all ztunnels if no pod is named.')
    .argument('[pod]', 'a ztunnel pod')
    .option(
      '--level <level>',
      'trace, debug, info, warn, error, off, or scope=level, comma-separated',
    )
    .option('-r, --reset', 'back to the levels of the start')
    .option('-o, --output <format>', 'not applicable here', 'short')
    .option('--proxy-admin-port <port>', 'admin port of ztunnel', '15000')
    .addHelpText(
      'after',
      '\nExample:\n  ambientctl ztunnel-config log --level access=debug,info\n',
    );
  return command.action(
    async (
      pod: string | undefined,
      flags: { level?: string; reset?: boolean; output: string; proxyAdminPort: string },
      self: Command,
    ) => {
      if (flags.output !== 'short')
        throw new CliError('--output is not applicable for this command');
      if (flags.level !== undefined && flags.reset === true) {
        throw new CliError('--level cannot be combined with --reset');
      }
      const globals = self.optsWithGlobals<GlobalFlags>();
      const kube = await connect(globals);
      const chosen =
        pod === undefined
          ? await ztunnelPods(kube, globals.istioNamespace)
          : [(await chooseZtunnel(kube, globals.istioNamespace, pod, undefined, false)).ztunnel];
      if (chosen.length === 0) throw new CliError('no running ztunnel pods');
      const level =
        flags.level === 'warning' ? 'warn' : flags.level === 'critical' ? 'error' : flags.level;
      const query =
        flags.reset === true
          ? '?reset'
          : level === undefined
            ? ''
            : `?level=${encodeURIComponent(level)}`;
      for (const z of chosen) {
        const answer = await callPod(kube, z, adminPortOf(flags), 'POST', `/logging${query}`);
        if (answer.status !== 200)
          throw new CliError(`unrecognized logging level: ${flags.level ?? ''}`);
        process.stdout.write(`${z.name}.${z.namespace}:\n${answer.body}\n`);
      }
    },
  );
}

const example = (text: string): string => `\nExample:\n  ambientctl ztunnel-config ${text}\n`;

function allCommand(): Command {
  const command = base('all', [], 'everything a ztunnel knows')
    .option('--with-headers', 'a line before each table')
    .addHelpText('after', example('all -o json'));
  return command.action(async (pod: string | undefined, flags: Flags, self: Command) => {
    const format = readFormat(flags.output);
    const globals = self.optsWithGlobals<GlobalFlags>();
    const from = { file: flags.file, node: flags.node, proxyAdminPort: adminPortOf(flags) };
    const { dump } = await loadDump(() => connect(globals), globals.istioNamespace, pod, from);
    const short = (): string =>
      [
        ['WORKLOAD', workloadTable(dump), 1] as const,
        ['SERVICE', serviceTable(dump), 1] as const,
        ['POLICY', policyTable(dump), 1] as const,
        ['CERTIFICATE', certificateTable(dump, Date.now()), 5] as const,
        ['CONNECTION', connectionTable(dump), 1] as const,
      ]
        .map(([title, table, gap]) => {
          const head = flags.withHeaders === true ? `------ ${title} INFO ------\n\n` : '';
          return head + printTable(table, gap);
        })
        .join('\n');
    process.stdout.write(printData(format, dump.raw, short));
  });
}

export function ztunnelConfigCommand(): Command {
  const group = new Command('ztunnel-config')
    .alias('zc')
    .summary('what a node proxy knows: workloads, services, policies, certificates, connections')
    .description('Show what a ztunnel knows and does. Columns are those of istioctl.');
  group.addCommand(allCommand());
  group.addCommand(
    view(
      base('workloads', ['workload', 'w'], 'workloads and how they are reached')
        .option('--address <ip>', 'only this address')
        .option('--workload-namespace <ns>', 'only this namespace')
        .option('--workload-node <node>', 'only this node')
        .addHelpText('after', example('workloads --workload-namespace default')),
      false,
      ({ dump, pod }, f) => ({
        data: dump.workloads,
        table: workloadTable(dump, {
          address: f.address,
          namespace: f.workloadNamespace,
          node: f.workloadNode,
          pod,
        }),
        gap: 1,
      }),
    ),
  );
  group.addCommand(
    view(
      base('services', ['service', 's', 'svc'], 'services, addresses and endpoints')
        .option('--service-namespace <ns>', 'only this namespace')
        .addHelpText('after', example('services')),
      false,
      ({ dump }, f) => ({
        data: dump.services,
        table: serviceTable(dump, { namespace: f.serviceNamespace }),
        gap: 1,
      }),
    ),
  );
  group.addCommand(
    view(
      base('policies', ['policy', 'p', 'pol'], 'authorization policies in force')
        .option('--policy-namespace <ns>', 'only this namespace')
        .addHelpText('after', example('policies')),
      false,
      ({ dump }, f) => ({
        data: dump.policies,
        table: policyTable(dump, { namespace: f.policyNamespace }),
        gap: 1,
      }),
    ),
  );
  group.addCommand(
    view(
      base(
        'certificates',
        ['certificate', 'certs', 'cert'],
        'identities and their certificates',
      ).addHelpText('after', example('certificates ds/ztunnel')),
      true,
      ({ dump }) => ({
        data: dump.certificates,
        table: certificateTable(dump, Date.now()),
        gap: 5,
      }),
    ),
  );
  group.addCommand(
    view(
      base('connections', ['connection', 'cons'], 'connections open now')
        .addOption(
          new Option('--direction <direction>', 'only one').choices(['inbound', 'outbound']),
        )
        .option('--raw', 'addresses instead of names')
        .option('--workload-namespace <ns>', 'only this namespace')
        .addHelpText('after', example('connections --direction inbound')),
      true,
      ({ dump, pod }, f) => ({
        data: dump.workloadState,
        table: connectionTable(dump, {
          direction: f.direction,
          raw: f.raw,
          namespace: f.workloadNamespace,
          pod,
        }),
        gap: 1,
      }),
    ),
  );
  group.addCommand(logCommand());
  return group;
}
