// `ambientctl describe pod|service NAME`: what the mesh knows of it.
import { Command } from 'commander';
import { type KubeClient, resources } from '../../core/kube/index.ts';
import {
  type MeshState,
  type NamespacedHost,
  readMeshDump,
  serviceKey,
} from '../../core/model/index.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { CliError } from '../errors.ts';
import {
  describeService,
  describeWorkload,
  printService,
  printWorkload,
} from '../explain/describe.ts';
import type { WaypointFacts } from '../explain/at-waypoint.ts';
import { findService, findWorkload } from '../explain/find.ts';
import {
  fetchWaypointDump,
  readWaypointDump,
  type WaypointFlags,
  waypointPods,
} from '../explain/waypoints.ts';
import { printData, readFormat } from '../output.ts';
import { loadDump } from '../ztunnel/source.ts';

interface Flags extends WaypointFlags {
  readonly dump?: string;
  readonly output: string;
}

interface Shown {
  readonly data: object;
  readonly text: string;
  /** Services whose waypoint has a word in it. */
  readonly services: readonly NamespacedHost[];
  /** `namespace` and name of the account that it runs as. */
  readonly account?: { readonly namespace: string; readonly name: string };
}

/** From a file, or from the waypoints themselves; nothing where only a dump of a ztunnel is given. */
async function atWaypoints(
  mesh: MeshState,
  services: Shown['services'],
  f: Flags,
  open: () => Promise<KubeClient>,
): Promise<WaypointFacts[]> {
  const out: WaypointFacts[] = [];
  for (const key of services) {
    const service = mesh.service(key);
    const [pod] = service ? waypointPods(mesh, service) : [];
    if (!pod || (f.dump !== undefined && f.waypointDump === undefined)) continue;
    const dumped =
      f.waypointDump === undefined
        ? await fetchWaypointDump(await open(), pod)
        : readWaypointDump(f.waypointDump, pod);
    const { describeAtWaypoint } = await import('../explain/at-waypoint.ts');
    const facts = describeAtWaypoint(dumped, key);
    if (facts) out.push(facts);
  }
  return out;
}

async function textOf(waypoints: readonly WaypointFacts[]): Promise<string> {
  if (waypoints.length === 0) return '';
  const { printWaypoints } = await import('../explain/at-waypoint.ts');
  return printWaypoints(waypoints);
}

/** A line where the pod's account is not there: it would not come up again. */
async function missingAccount(
  account: Shown['account'],
  f: Flags,
  open: () => Promise<KubeClient>,
): Promise<string | undefined> {
  if (!account || f.dump !== undefined) return undefined;
  const { namespace, name } = account;
  const there = await (await open()).get(resources.serviceAccounts, namespace, name);
  return there ? undefined : `ServiceAccount ${namespace}/${name} does not exist`;
}

function kind(
  name: string,
  alias: string,
  summary: string,
  show: (mesh: MeshState, text: string, namespace: string) => Shown,
): Command {
  return new Command(name)
    .alias(alias)
    .summary(summary)
    .description(
      `${summary.charAt(0).toUpperCase()}${summary.slice(1)}, as the proxies hold it, with what judges requests at waypoints.`,
    )
    .argument('<name>', 'its name, optionally with .namespace')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('--waypoint-dump <file>', 'a config dump of the waypoint instead of a live one')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', `\nExample:\n  ambientctl describe ${name} productpage.default\n`)
    .action(async (ref: string, f: Flags, self: Command) => {
      const format = readFormat(f.output);
      const globals = self.optsWithGlobals<GlobalFlags>();
      const source = { file: f.dump, proxyAdminPort: 15_000 };
      const open = (): Promise<KubeClient> => connect(globals);
      const { dump } = await loadDump(open, globals.istioNamespace, undefined, source);
      const { mesh } = readMeshDump(dump.raw);
      const { data, text, services, account } = show(mesh, ref, globals.namespace ?? 'default');
      const waypoints = await atWaypoints(mesh, services, f, open);
      const warning = await missingAccount(account, f, open);
      const whole = { ...data, waypoints, warnings: warning === undefined ? [] : [warning] };
      const more = await textOf(waypoints);
      const short = (): string =>
        `${text}${more}${warning === undefined ? '' : `   Warning: ${warning}\n`}`;
      process.stdout.write(printData(format, whole, short));
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
        const w = findWorkload(mesh, ref, ns);
        const data = describeWorkload(mesh, w);
        const account = { namespace: w.namespace, name: w.serviceAccount };
        return { data, text: printWorkload(data), services: [...w.services.keys()], account };
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
      const data = describeService(mesh, found);
      return { data, text: printService(data), services: [serviceKey(found)] };
    }),
  );
  return group;
}
