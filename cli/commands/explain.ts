// `ambientctl explain FROM TO[:PORT]`: the decision for one connection, live or on a dump file.
import { Command } from 'commander';
import { readMeshDump } from '../../core/model/index.ts';
import { systemRandom } from '../../core/runtime/index.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { explain, explainExit, printExplanation } from '../explain/explain.ts';
import { findDestination, findWorkload } from '../explain/find.ts';
import { withLiveFacts } from '../explain/live.ts';
import { type EgressMode, egressModes } from '../../ztunnel/index.ts';
import { printData, readFormat } from '../output.ts';
import { loadDump } from '../ztunnel/source.ts';

const help = `
Exit codes: 0 allowed over mutual TLS, 4 plaintext, 5 refused, 1 usage.

Examples:
  ambientctl explain deploy/curl svc/productpage
  ambientctl explain deploy/curl pod/reviews-v1-abc.shop:9080
  ambientctl ztunnel-config all -o json > dump.json; ambientctl explain deploy/a svc/b --dump dump.json
`;

/** As the proxy of the dump has it; Istio's own has no such setting. */
function egressOf(dump: Readonly<Record<string, unknown>>): EgressMode {
  const given = (dump['config'] as { outboundTrafficPolicy?: unknown } | undefined)
    ?.outboundTrafficPolicy;
  return egressModes.find((m) => m === given) ?? 'ALLOW_ANY';
}

export function explainCommand(): Command {
  return new Command('explain')
    .summary('why a connection goes where it goes, and whether it may')
    .description(
      'Takes the decision for a connection from FROM to TO with the data plane’s own functions: endpoint, path, identities, every policy considered, and what would be bypassed. Opens nothing; `verify mtls` proves.',
    )
    .argument('<from>', 'pod/x, deploy/x or svc/x, optionally with .namespace')
    .argument('<to>', 'the same, optionally with :PORT, or ip:port')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', help)
    .action(
      async (from: string, to: string, f: { dump?: string; output: string }, self: Command) => {
        const format = readFormat(f.output);
        const globals = self.optsWithGlobals<GlobalFlags>();
        const source = { file: f.dump, proxyAdminPort: 15_000 };
        const { dump } = await loadDump(
          () => connect(globals),
          globals.istioNamespace,
          undefined,
          source,
        );
        const { mesh, unread } = readMeshDump(dump.raw);
        const namespace = globals.namespace ?? 'default';
        const workload = findWorkload(mesh, from, namespace);
        const destination = findDestination(mesh, to, namespace);
        const decided = explain(mesh, workload, destination, systemRandom, egressOf(dump.raw));
        const explained =
          f.dump === undefined
            ? await withLiveFacts(await connect(globals), decided, destination)
            : decided;
        const notes = unread.map(
          (name) => `policy ${name} of the dump could not be read: the verdict may be wrong`,
        );
        const whole = { ...explained, notes: [...explained.notes, ...notes] };
        process.stdout.write(printData(format, whole, () => printExplanation(whole)));
        process.exitCode = explainExit(whole);
      },
    );
}
