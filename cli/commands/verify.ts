// `ambientctl verify mtls FROM TO[:PORT]`: proof that mutual TLS is on, with an exit code for scripts.
import { Command } from 'commander';
import { connect, type GlobalFlags, namespaceOf } from '../connect.ts';
import { CliError } from '../errors.ts';
import { printData, readFormat } from '../output.ts';
import { exitCode, printReport } from '../verify/verdict.ts';

const help = `
Exit codes:
  0  mutual TLS proven by a real connection
  1  usage, or an object does not exist
  3  mutual TLS proven, but plaintext is accepted too (only with --strict)
  4  not encrypted
  5  refused or unreachable
  6  cannot tell

Examples:
  ambientctl verify mtls deploy/curl svc/productpage
  ambientctl verify mtls deploy/curl pod/reviews-v1-abc.shop:9080 --strict -o json
`;

interface Flags {
  readonly strict?: boolean;
  readonly fresh?: boolean;
  readonly output: string;
  readonly timeout: string;
}

export function verifyCommand(): Command {
  const group = new Command('verify')
    .summary('prove what the mesh does')
    .description('Prove what the mesh does.');
  group
    .command('mtls')
    .summary('prove that traffic between two workloads is mutual TLS')
    .description(
      'Opens a real connection from FROM to TO through FROM’s own proxy and reports what it negotiated: identities, certificates, cipher, policies, and whether plaintext would be accepted too. A reference is pod/x, deploy/x or svc/x, optionally with .namespace.',
    )
    .argument('<from>', 'the workload that calls')
    .argument('<to>', 'the workload or service that is called, optionally with :PORT')
    .option('--strict', 'exit 3 if plaintext is accepted too')
    .option('--fresh', 'a new tunnel instead of the one traffic uses')
    .option('--timeout <seconds>', 'how long the probe may take', '5')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', help)
    .action(async (from: string, to: string, flags: Flags, self: Command) => {
      const format = readFormat(flags.output);
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
      });
      process.stdout.write(printData(format, report, () => printReport(report)));
      process.exitCode = exitCode(report, flags.strict === true);
    });
  return group;
}
