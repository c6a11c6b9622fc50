// `ambientctl verify mtls FROM TO[:PORT]`: proof that mutual TLS is on, with an exit code for scripts; with --all
// every pair that has talked.
import { Command } from 'commander';
import { connect, type GlobalFlags, namespaceOf } from '../connect.ts';
import { CliError } from '../errors.ts';
import { type OutputFormat, printData, printTable, readFormat } from '../output.ts';
import { exitCode, printReport } from '../verify/verdict.ts';

const help = `
Exit codes:
  0  mutual TLS proven by a real connection
  1  usage, or an object does not exist
  3  mutual TLS proven, but plaintext is accepted too (only with --strict)
  4  not encrypted
  5  refused or unreachable
  6  cannot tell
With --all: 0 every pair was mutual TLS, 4 some were not, 5 some were only refused, 6 nobody has talked.

Examples:
  ambientctl verify mtls deploy/curl svc/productpage
  ambientctl verify mtls deploy/curl pod/reviews-v1-abc.shop:9080 --strict -o json
  ambientctl verify mtls --all -n shop
`;

interface Flags {
  readonly strict?: boolean;
  readonly fresh?: boolean;
  readonly all?: boolean;
  readonly output: string;
  readonly timeout: string;
}

async function verifyAll(globals: GlobalFlags, format: OutputFormat): Promise<void> {
  const kube = await connect(globals);
  const [{ allRecords }, { pairRows, pairsExit, pairsOf }] = await Promise.all([
    import('../verify/all.ts'),
    import('../verify/pairs.ts'),
  ]);
  const namespace = namespaceOf(globals, kube);
  const pairs = pairsOf(await allRecords(kube, globals.istioNamespace), namespace);
  const short = (): string =>
    pairs.length === 0
      ? `no pair of namespace ${namespace} has talked\n`
      : printTable(pairRows(pairs));
  process.stdout.write(printData(format, { namespace, pairs }, short));
  process.exitCode = pairsExit(pairs);
}

export function verifyCommand(): Command {
  const group = new Command('verify')
    .summary('prove what the mesh does')
    .description('Prove what the mesh does.');
  group
    .command('mtls')
    .summary('prove that traffic between two workloads is mutual TLS')
    .description(
      'Opens a real connection from FROM to TO through FROM’s own proxy and reports what it negotiated: identities, certificates, cipher, policies, and whether plaintext is accepted too: in the sandbox some is really sent, elsewhere the policies are judged. A reference is pod/x, deploy/x or svc/x, optionally with .namespace.',
    )
    .argument('[from]', 'the workload that calls')
    .argument('[to]', 'the workload or service that is called, optionally with :PORT')
    .option('--all', 'every pair of the namespace that has talked, from the records of all proxies')
    .option('--strict', 'exit 3 if plaintext is accepted too')
    .option('--fresh', 'a new tunnel instead of the one traffic uses')
    .option('--timeout <seconds>', 'how long the probe may take', '5')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', help)
    .action(
      async (from: string | undefined, to: string | undefined, flags: Flags, self: Command) => {
        const format = readFormat(flags.output);
        if (flags.all === true) {
          if (from !== undefined) throw new CliError('--all takes no FROM and TO');
          await verifyAll(self.optsWithGlobals<GlobalFlags>(), format);
          return;
        }
        if (from === undefined || to === undefined)
          throw new CliError('FROM and TO are needed, or --all');
        const seconds = Number(flags.timeout);
        if (!(seconds > 0 && seconds <= 30)) {
          throw new CliError(`--timeout must be between 0 and 30 seconds, is "${flags.timeout}"`);
        }
        const globals = self.optsWithGlobals<GlobalFlags>();
        const kube = await connect(globals);
        const { verifyMtls } = await import('../verify/verify.ts');
        const report = await verifyMtls(kube, {
          from,
          to,
          namespace: namespaceOf(globals, kube),
          istioNamespace: globals.istioNamespace,
          timeoutMs: seconds * 1000,
          fresh: flags.fresh === true,
          sendPlaintext: true,
        });
        process.stdout.write(printData(format, report, () => printReport(report)));
        process.exitCode = exitCode(report, flags.strict === true);
      },
    );
  return group;
}
