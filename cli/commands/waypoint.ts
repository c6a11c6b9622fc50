// `ambientctl waypoint`: the life of waypoints, with Istio's flags, columns and messages (control-plane.md 8.2).
import { Command } from 'commander';
import { stringify } from 'yaml';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import { parseDuration } from '../../core/runtime/index.ts';
import { connect, type GlobalFlags, namespaceOf } from '../connect.ts';
import { CliError } from '../errors.ts';
import { printData, printTable, readFormat } from '../output.ts';
import {
  listWaypoints,
  makeGateway,
  missingWaypoints,
  needGatewayApi,
  useWaypoint,
  waitProgrammed,
  type WaypointRow,
} from '../waypoint/gateways.ts';

interface Flags extends GlobalFlags {
  readonly name?: string;
  readonly for?: string;
  readonly revision?: string;
  readonly enrollNamespace?: boolean;
  readonly overwrite?: boolean;
  readonly wait?: boolean;
  readonly waypointTimeout?: string;
  readonly allNamespaces?: boolean;
  readonly all?: boolean;
  readonly output?: string;
}

const modeLabel = 'istio.io/dataplane-mode';
const say = (text: string): void => void process.stdout.write(`${text}\n`);

const nameOf = (flags: Flags): string => flags.name || 'waypoint';

function timeoutOf(flags: Flags): number {
  const ms = parseDuration(flags.waypointTimeout ?? '90s');
  if (ms === undefined)
    throw new CliError(`--waypoint-timeout is no duration: ${flags.waypointTimeout}`);
  return ms;
}

function generate(flags: Flags): void {
  const gateway = makeGateway({
    name: nameOf(flags),
    namespace: flags.namespace,
    traffic: flags.for,
    revision: flags.revision,
  });
  process.stdout.write(
    flags.output === 'json' ? `${JSON.stringify(gateway, null, 2)}\n` : stringify(gateway),
  );
}

async function applyGateway(kube: KubeClient, gateway: KubeObject): Promise<void> {
  const { namespace, name } = gateway.metadata;
  await kube.patch(resources.gateways, namespace, name, gateway, {
    kind: 'apply',
    fieldManager: 'istioctl',
  });
}

/** Order: checks, apply, wait, label; nothing is labelled that is not ready. */
async function apply(flags: Flags): Promise<void> {
  const json = readFormat(flags.output) === 'json';
  const tell = json ? () => {} : say;
  const kube = await connect(flags);
  const namespace = namespaceOf(flags, kube);
  const name = nameOf(flags);
  const shown = `${namespace}/${name}`;
  const gateway = makeGateway({ name, namespace, traffic: flags.for, revision: flags.revision });
  await needGatewayApi(kube);
  const home = await kube.get(resources.namespaces, undefined, namespace);
  if (!home) throw new CliError(`namespace: ${namespace} not found`);
  const labels = home.metadata.labels ?? {};
  if (flags.enrollNamespace) {
    if (labels[modeLabel] !== 'ambient') {
      tell(
        `⚠️ Warning: namespace is not enrolled in ambient. Consider running\t\`kubectl label namespace ${namespace} ${modeLabel}=ambient\``,
      );
    }
    const other = labels[useWaypoint];
    if (other !== undefined && !flags.overwrite) {
      tell(
        `⚠️ Warning: namespace (${namespace}) already has an enrolled Waypoint. Consider adding the \`--overwrite\` flag to your apply command.`,
      );
      if (json) say(JSON.stringify({ namespace, name, applied: false, enrolled: other }, null, 2));
      return;
    }
  }
  await applyGateway(kube, gateway);
  tell(`✅ waypoint ${shown} applied`);
  const row = flags.wait
    ? await waitProgrammed(kube, namespace, name, timeoutOf(flags))
    : undefined;
  if (flags.wait && !row) {
    throw new CliError(`timed out while waiting for waypoint\t${shown}`);
  }
  if (row) tell(`✅ waypoint ${shown} is ready!`);
  if (flags.enrollNamespace) {
    const patch = { metadata: { labels: { [useWaypoint]: name } } };
    await kube.patch(resources.namespaces, undefined, namespace, patch, { kind: 'merge' });
    tell(`✅ namespace ${namespace} labeled with "${useWaypoint}: ${name}"`);
  }
  if (json) {
    const answer = {
      namespace,
      name,
      applied: true,
      ...(flags.wait && { ready: row !== undefined }),
      enrolled: flags.enrollNamespace === true,
    };
    say(JSON.stringify(answer, null, 2));
  }
}

const scopeOf = (flags: Flags, kube: KubeClient): string | undefined =>
  flags.allNamespaces ? undefined : namespaceOf(flags, kube);

async function list(flags: Flags): Promise<void> {
  const format = readFormat(flags.output);
  const kube = await connect(flags);
  const { any, rows } = await listWaypoints(kube, scopeOf(flags, kube));
  if (!any && format === 'short') return say('No waypoints found.');
  const head = ['NAME', 'REVISION', 'TRAFFIC TYPE', 'PROGRAMMED'];
  const cells = rows.map((r) => [r.name, r.revision, r.trafficType, r.programmed]);
  process.stdout.write(printData(format, rows, () => tableOf(flags, head, cells, rows)));
}

function tableOf(
  flags: Flags,
  head: readonly string[],
  cells: readonly string[][],
  rows: readonly WaypointRow[],
): string {
  if (!flags.allNamespaces) return printTable([head, ...cells], 5);
  const wide = cells.map((c, i) => [rows[i]?.namespace ?? '', ...c]);
  return printTable([['NAMESPACE', ...head], ...wide], 5);
}

async function status(flags: Flags): Promise<void> {
  const format = readFormat(flags.output);
  const kube = await connect(flags);
  const scope = scopeOf(flags, kube);
  let { any, rows } = await listWaypoints(kube, scope);
  const services = await kube.list(resources.services, scope);
  const missing = missingWaypoints(services.items, rows);
  if (!any && missing.length === 0 && format === 'short') return say('No waypoints found.');
  if (flags.wait !== false) {
    const end = performance.now() + timeoutOf(flags);
    for (const r of rows) {
      const left = Math.max(0, end - performance.now());
      if (await waitProgrammed(kube, r.namespace, r.name, left)) continue;
      throw new CliError(
        `failed to print waypoint status: timed out while retrieving status for waypoint\t${r.namespace}/${r.name}`,
      );
    }
    rows = (await listWaypoints(kube, scope)).rows;
  }
  rows = [...rows, ...missing];
  const head = ['NAME', 'STATUS', 'TYPE', 'REASON', 'MESSAGE'];
  const cells = rows.map((r) => {
    const c = r.conditions.find((x) => x.type === 'Programmed') ?? r.conditions.at(-1);
    return [r.name, c?.status ?? 'Unknown', c?.type ?? '', c?.reason ?? '', c?.message ?? ''];
  });
  process.stdout.write(printData(format, rows, () => tableOf(flags, head, cells, rows)));
}

async function remove(names: readonly string[], flags: Flags): Promise<void> {
  const format = readFormat(flags.output);
  if (flags.all && names.length > 0) {
    throw new CliError('cannot specify waypoint names when deleting all waypoints');
  }
  if (!flags.all && names.length === 0 && flags.revision === undefined) {
    throw new CliError(
      'must specify a waypoint name or delete all using --all or delete specific revision using --revision',
    );
  }
  const kube = await connect(flags);
  const namespace = namespaceOf(flags, kube);
  const { rows } = await listWaypoints(kube, namespace);
  const wanted =
    names.length > 0
      ? names
      : rows
          .filter((r) => flags.revision === undefined || r.revision === flags.revision)
          .map((r) => r.name);
  const results: { namespace: string; name: string; deleted: boolean }[] = [];
  for (const name of wanted) {
    const deleted = rows.some((r) => r.name === name) && (await removed(kube, namespace, name));
    results.push({ namespace, name, deleted });
    if (format === 'short') {
      say(`waypoint ${namespace}/${name} ${deleted ? 'deleted' : 'not found'}`);
    }
  }
  if (format !== 'short') process.stdout.write(printData(format, results, () => ''));
}

async function removed(kube: KubeClient, namespace: string, name: string): Promise<boolean> {
  try {
    await kube.remove(resources.gateways, namespace, name);
    return true;
  } catch (error) {
    if (error instanceof KubeError && error.code === 404) return false;
    throw error;
  }
}

const flagsOf = (self: Command): Flags => self.optsWithGlobals<Flags>();

function verb(name: string, summary: string, example: string): Command {
  return new Command(name)
    .summary(summary)
    .description(`${summary}.`)
    .addHelpText('after', `\nExample:\n  ambientctl waypoint ${example}\n`);
}

const forHelp = 'traffic the waypoint is for: all, none, service or workload';

export function waypointCommand(): Command {
  const group = new Command('waypoint')
    .summary('manage waypoints: L7 routing and policy for a namespace or a service')
    .description('Manage waypoints: L7 routing and policy for a namespace or a service.')
    .option('--name <name>', 'name of the waypoint', 'waypoint');
  group.addCommand(
    verb('apply', 'apply a waypoint to the cluster', 'apply --enroll-namespace --wait')
      .option('--for <type>', forHelp)
      .option('-r, --revision <rev>', 'revision label of the waypoint')
      .option('--enroll-namespace', 'label the namespace to use the waypoint')
      .option('--overwrite', 'overwrite the waypoint the namespace uses now')
      .option('-w, --wait', 'wait until the waypoint is ready')
      .option('--waypoint-timeout <duration>', 'how long to wait', '90s')
      .option('-o, --output <format>', 'short or json', 'short')
      .action((_: unknown, self: Command) => apply(flagsOf(self))),
  );
  group.addCommand(
    verb('generate', 'print a waypoint as YAML', 'generate --for all -n shop')
      .option('--for <type>', forHelp)
      .option('-r, --revision <rev>', 'revision label of the waypoint')
      .option('-o, --output <format>', 'yaml or json', 'yaml')
      .action((_: unknown, self: Command) => generate(flagsOf(self))),
  );
  group.addCommand(
    verb('list', 'list waypoints', 'list -A')
      .option('-A, --all-namespaces', 'of all namespaces')
      .option('-o, --output <format>', 'short, json or yaml', 'short')
      .action((_: unknown, self: Command) => list(flagsOf(self))),
  );
  group.addCommand(
    verb('status', 'show whether waypoints are programmed', 'status -n shop')
      .option('-A, --all-namespaces', 'of all namespaces')
      .option('-w, --wait', 'wait until they are', true)
      .option('--no-wait', 'show what is now')
      .option('--waypoint-timeout <duration>', 'how long to wait', '90s')
      .option('-o, --output <format>', 'short, json or yaml', 'short')
      .action((_: unknown, self: Command) => status(flagsOf(self))),
  );
  group.addCommand(
    verb('delete', 'delete waypoints; the label of the namespace is left in place', 'delete --all')
      .argument('[names...]', 'waypoints to delete')
      .option('--all', 'all waypoints of the namespace')
      .option('-r, --revision <rev>', 'all waypoints of this revision')
      .option('-o, --output <format>', 'short, json or yaml', 'short')
      .action((names: string[], _: unknown, self: Command) => remove(names, flagsOf(self))),
  );
  return group;
}
