// `ambientctl explain FROM TO[:PORT]`: the decision for one connection, live or on a dump file.
import { Command } from 'commander';
import type { KubeClient } from '../../core/kube/index.ts';
import { readMeshDump, type Workload } from '../../core/model/index.ts';
import { systemRandom } from '../../core/runtime/index.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { explain, explainExit, type Explanation, printExplanation } from '../explain/explain.ts';
import { type Destination, findDestination, findWorkload } from '../explain/find.ts';
import { asksRequest, readRequest, type RequestFlags } from '../explain/l7.ts';
import { withLiveFacts, withRequest } from '../explain/live.ts';
import { readWaypointDump, type WaypointFlags, withRequestOptions } from '../explain/waypoints.ts';
import { type EgressMode, egressModes } from '../../ztunnel/index.ts';
import { printData, readFormat } from '../output.ts';
import { loadDump } from '../ztunnel/source.ts';

const help = `
Exit codes: 0 allowed over mutual TLS, 4 plaintext, 5 refused, 1 usage.

Examples:
  ambientctl explain deploy/curl svc/productpage
  ambientctl explain deploy/curl pod/reviews-v1-abc.shop:9080
  ambientctl explain deploy/curl svc/productpage --method DELETE --path /productpage
  ambientctl explain deploy/curl svc/web --path /admin --claims '{"iss": "https://issuer", "sub": "anna"}'
  ambientctl ztunnel-config all -o json > dump.json; ambientctl explain deploy/a svc/b --dump dump.json
`;

interface Flags extends RequestFlags, WaypointFlags {
  readonly dump?: string;
  readonly output: string;
}

/** As the proxy of the dump has it; Istio's own has no such setting. */
function egressOf(dump: Readonly<Record<string, unknown>>): EgressMode {
  const given = (dump['config'] as { outboundTrafficPolicy?: unknown } | undefined)
    ?.outboundTrafficPolicy;
  return egressModes.find((m) => m === given) ?? 'ALLOW_ANY';
}

/** What a live cluster or a dump of the waypoint adds: endpoints that it leaves out, and its word on a request. */
async function atWaypoint(
  decided: Explanation,
  from: Workload,
  to: Destination,
  f: Flags,
  open: () => Promise<KubeClient>,
): Promise<Explanation> {
  const request = asksRequest(f) ? readRequest(f, to.service?.hostname ?? to.label) : undefined;
  const passes = decided.path.via === 'waypoint';
  if (request && !passes)
    return {
      ...decided,
      notes: [...decided.notes, 'no waypoint is on this path: requests are not judged'],
    };
  const [name = '', namespace = ''] = (decided.path.endpoint ?? '').split('.');
  if (request && f.waypointDump !== undefined) {
    const dumped = readWaypointDump(f.waypointDump, { name, namespace });
    return withRequest(decided, dumped, from, to, request);
  }
  if (f.dump === undefined)
    return withLiveFacts(await open(), decided, to, request && { from, request });
  const note = 'give --waypoint-dump too: the dump of a ztunnel does not hold what judges requests';
  return request ? { ...decided, notes: [...decided.notes, note] } : decided;
}

export function explainCommand(): Command {
  return withRequestOptions(new Command('explain'))
    .summary('why a connection goes where it goes, and whether it may')
    .description(
      'Takes the decision for a connection from FROM to TO with the data plane’s own functions: endpoint, path, identities, every policy considered, and what would be bypassed. With --method, --path, --host, --header or --claims it takes the waypoint’s decision on such a request too. Opens nothing; `verify mtls` proves.',
    )
    .argument('<from>', 'pod/x, deploy/x or svc/x, optionally with .namespace')
    .argument('<to>', 'the same, optionally with :PORT, or ip:port')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', help)
    .action(async (from: string, to: string, f: Flags, self: Command) => {
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
      const explained = await atWaypoint(decided, workload, destination, f, () => connect(globals));
      const notes = unread.map(
        (name) => `policy ${name} of the dump could not be read: the verdict may be wrong`,
      );
      const whole = { ...explained, notes: [...explained.notes, ...notes] };
      process.stdout.write(printData(format, whole, () => printExplanation(whole)));
      process.exitCode = explainExit(whole);
    });
}
