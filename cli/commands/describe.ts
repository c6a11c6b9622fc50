// `ambientctl describe pod|service NAME`: what the mesh knows of it.
import { Command } from 'commander';
import { type MeshState, readMeshDump } from '../../core/model/index.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { CliError } from '../errors.ts';
import {
  describeService,
  describeWorkload,
  printService,
  printWorkload,
} from '../explain/describe.ts';
import { findService, findWorkload } from '../explain/find.ts';
import { printData, readFormat } from '../output.ts';
import { loadDump } from '../ztunnel/source.ts';

interface Flags {
  readonly dump?: string;
  readonly output: string;
}

function kind(
  name: string,
  alias: string,
  summary: string,
  show: (mesh: MeshState, text: string, namespace: string) => { data: unknown; text: string },
): Command {
  return new Command(name)
    .alias(alias)
    .summary(summary)
    .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}, as the proxies hold it.`)
    .argument('<name>', 'its name, optionally with .namespace')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', `\nExample:\n  ambientctl describe ${name} productpage.default\n`)
    .action(async (ref: string, f: Flags, self: Command) => {
      const format = readFormat(f.output);
      const globals = self.optsWithGlobals<GlobalFlags>();
      const source = { file: f.dump, proxyAdminPort: 15_000 };
      const { dump } = await loadDump(
        () => connect(globals),
        globals.istioNamespace,
        undefined,
        source,
      );
      const { data, text } = show(readMeshDump(dump.raw).mesh, ref, globals.namespace ?? 'default');
      process.stdout.write(printData(format, data, () => text));
    });
}

export function describeCommand(): Command {
  const group = new Command('describe')
    .alias('des')
    .summary('what the mesh knows of a pod or service')
    .description(
      'What the mesh knows of a pod or service: identity, capture, services, policies in force.',
    );
  group.addCommand(
    kind(
      'pod',
      'po',
      'a pod: identity, services, policies, what plaintext would get',
      (mesh, ref, ns) => {
        const facts = describeWorkload(mesh, findWorkload(mesh, ref, ns));
        return { data: facts, text: printWorkload(facts) };
      },
    ),
  );
  group.addCommand(
    kind('service', 'svc', 'a service: addresses, ports, waypoint, endpoints', (mesh, ref, ns) => {
      const found = findService(mesh, ref.includes('/') ? ref : `svc/${ref}`, ns);
      if (!found)
        throw new CliError(
          `the mesh knows no service "${ref}" (namespace "${ns}" if it gives none)`,
        );
      const facts = describeService(mesh, found);
      return { data: facts, text: printService(facts) };
    }),
  );
  return group;
}
