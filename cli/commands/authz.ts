// `ambientctl authz check|simulate`: who may reach a workload; what a policy would cut before it is applied.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import {
  type MeshState,
  podUid,
  type Policy,
  readMeshDump,
  type Workload,
} from '../../core/model/index.ts';
import type { AuthorizationPolicyFacts } from '../../istiod-lite/index.ts';
import { callPodJson, type PodRef } from '../admin-client.ts';
import { readManifests } from '../apply.ts';
import { connect, type GlobalFlags, namespaceOf } from '../connect.ts';
import { CliError } from '../errors.ts';
import {
  reach,
  type ReachRow,
  type SeenConnection,
  simulate,
  withMutualTls,
  withPolicies,
} from '../explain/authz.ts';
import { findWorkload } from '../explain/find.ts';
import type { RequestFlags } from '../explain/l7.ts';
import {
  fetchWaypointDump,
  readWaypointDump,
  type WaypointFlags,
  waypointPods,
  withRequestOptions,
} from '../explain/waypoints.ts';
import type { SeenRequest, WaypointSeen } from '../explain/simulate-l7.ts';
import { printData, printTable, readFormat } from '../output.ts';
import { adminPort, ztunnelPods } from '../refs.ts';
import { loadDump } from '../ztunnel/source.ts';

interface CheckFlags extends RequestFlags, WaypointFlags {
  readonly dump?: string;
  readonly output: string;
}

/** At the waypoints of the workload's services; without options a request is `GET /`. */
async function waypointRows(
  mesh: MeshState,
  to: Workload,
  f: CheckFlags,
  open: () => Promise<KubeClient>,
): Promise<ReachRow[]> {
  const rows: ReachRow[] = [];
  for (const key of to.services.keys()) {
    const service = mesh.service(key);
    const [pod] = service ? waypointPods(mesh, service) : [];
    if (!service || !pod) continue;
    if (f.waypointDump === undefined && f.dump !== undefined) continue;
    const { waypoint, dump } =
      f.waypointDump === undefined
        ? await fetchWaypointDump(await open(), pod)
        : readWaypointDump(f.waypointDump, pod);
    const [{ reachAtWaypoint }, { policiesAt, readRequest }] = await Promise.all([
      import('../explain/at-waypoint.ts'),
      import('../explain/l7.ts'),
    ]);
    const policies = policiesAt(dump, key);
    if (!policies) continue;
    const request = readRequest(f, service.hostname);
    rows.push(...reachAtWaypoint(mesh, service, waypoint, policies, request));
  }
  return rows;
}

const checkHelp = `
The rows of a waypoint judge one request: GET / unless --method, --path, --host, --header or --claims say another.

Examples:
  ambientctl authz check deploy/productpage-v1
  ambientctl authz check svc/productpage --method DELETE --path /admin --header x-team:red
`;

function checkCommand(): Command {
  return withRequestOptions(new Command('check'))
    .summary('who may reach a workload')
    .description(
      'Judges every identity of the mesh, and plaintext, against each port of a workload at its ztunnel, and a request of each against its services at their waypoints.',
    )
    .argument('<workload>', 'pod/x, deploy/x or svc/x, optionally with .namespace')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', checkHelp)
    .action(async (ref: string, f: CheckFlags, self: Command) => {
      const format = readFormat(f.output);
      const globals = self.optsWithGlobals<GlobalFlags>();
      const source = { file: f.dump, proxyAdminPort: adminPort };
      const { dump } = await loadDump(
        () => connect(globals),
        globals.istioNamespace,
        undefined,
        source,
      );
      const { mesh } = readMeshDump(dump.raw);
      const to = findWorkload(mesh, ref, globals.namespace ?? 'default');
      const atWaypoints = await waypointRows(mesh, to, f, () => connect(globals));
      const rows = [...reach(mesh, to), ...atWaypoints];
      const table = rows.map((r) => [
        r.source,
        String(r.port),
        r.allowed ? 'allowed' : 'refused',
        r.request === undefined ? r.where : `${r.where}: ${r.request} of ${r.service ?? ''}`,
        r.decidedBy,
      ]);
      const short = (): string =>
        printTable([['SOURCE', 'PORT', 'VERDICT', 'WHERE', 'DECIDED BY'], ...table]);
      process.stdout.write(printData(format, rows, short));
    });
}

type Labels = ReadonlyMap<string, ReadonlyMap<string, string>>;

async function podLabels(kube: KubeClient): Promise<Labels> {
  const { items } = await kube.list(resources.pods);
  return new Map(
    items.map((p) => [
      podUid('Kubernetes', p.metadata.namespace ?? '', p.metadata.name),
      new Map(Object.entries(p.metadata.labels ?? {})),
    ]),
  );
}

/** Everything every ztunnel has recorded as arriving. */
async function seenConnections(
  kube: KubeClient,
  istioNamespace: string,
): Promise<SeenConnection[]> {
  const seen: SeenConnection[] = [];
  for (const z of await ztunnelPods(kube, istioNamespace)) {
    for (const which of ['live', 'recent']) {
      const path = `/ambient/connections?${which}`;
      const records = (await callPodJson(kube, z, adminPort, 'GET', path)) as (SeenConnection & {
        direction: string;
      })[];
      seen.push(...records.filter((r) => r.direction === 'inbound'));
    }
  }
  return seen;
}

function readObjects(file: string, namespace: string): KubeObject[] {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new CliError(`cannot read ${file}: ${error instanceof Error ? error.message : 'failed'}`);
  }
  const kinds = ['AuthorizationPolicy', 'PeerAuthentication'];
  const objects = readManifests(text, file).filter((o) => kinds.includes(o.kind ?? ''));
  if (objects.length === 0) throw new CliError(`${file} holds no ${kinds.join(' and no ')}`);
  for (const o of objects) o.metadata.namespace ??= namespace;
  return objects;
}

/** The PeerAuthentications of the file, with those that are there, in place of what is in force. */
async function applyMutualTls(
  kube: KubeClient,
  mesh: MeshState,
  objects: readonly KubeObject[],
  rootNamespace: string,
  labels: Labels,
): Promise<void> {
  const given = objects.filter((o) => o.kind === 'PeerAuthentication');
  if (given.length === 0) return;
  const { ClusterState, nothingTouched, peerAuthenticationKeys, peerAuthenticationPolicies } =
    await import('../../istiod-lite/index.ts');
  const cluster = new ClusterState(rootNamespace);
  const { items } = await kube.list(resources.peerAuthentications);
  for (const o of items) cluster.apply('PeerAuthentication', 'ADDED', o, nothingTouched());
  for (const o of given) {
    // What is created now is younger than everything that is there.
    const old = items.find(
      (x) => x.metadata.name === o.metadata.name && x.metadata.namespace === o.metadata.namespace,
    );
    const creationTimestamp = old?.metadata.creationTimestamp ?? '9999-01-01T00:00:00Z';
    const dated = { ...o, metadata: { ...o.metadata, creationTimestamp } };
    cluster.apply('PeerAuthentication', 'ADDED', dated, nothingTouched());
  }
  withMutualTls(mesh, peerAuthenticationPolicies(cluster), (w) =>
    peerAuthenticationKeys(cluster, w.namespace, labels.get(w.uid) ?? new Map<string, string>()),
  );
}

interface Given {
  /** What ztunnel enforces. */
  readonly policies: readonly {
    readonly policy: Policy;
    readonly selects: (w: Workload) => boolean;
    readonly status: { readonly reason: string; readonly message: string } | undefined;
  }[];
  /** What waypoints enforce. */
  readonly requests: readonly AuthorizationPolicyFacts[];
}

async function readPolicies(
  objects: readonly KubeObject[],
  rootNamespace: string,
  labels: Labels,
): Promise<Given> {
  const { readAuthorizationPolicy, selects, translatePolicy } = await import(
    '../../istiod-lite/index.ts'
  );
  const all = objects
    .filter((o) => o.kind === 'AuthorizationPolicy')
    .map((o) => readAuthorizationPolicy(o));
  const policies = all
    .filter((facts) => facts.targetRefs.length === 0)
    .map((facts) => {
      const { policy, status } = translatePolicy(facts, rootNamespace);
      if (!policy) {
        const why = status?.message ?? 'it is not understood';
        throw new CliError(`${facts.namespace}/${facts.name} is not enforced by ztunnel: ${why}`);
      }
      const reaches = (w: Workload): boolean =>
        (w.namespace === facts.namespace || facts.namespace === rootNamespace) &&
        facts.selector !== undefined &&
        facts.selector.size > 0 &&
        selects(facts.selector, labels.get(w.uid) ?? new Map<string, string>());
      return { policy, selects: reaches, status };
    });
  return { policies, requests: all.filter((facts) => facts.targetRefs.length > 0) };
}

/** What every waypoint holds and has recorded; none is asked where no policy is for one. */
async function seenRequests(
  kube: KubeClient,
  mesh: MeshState,
  wanted: boolean,
): Promise<WaypointSeen[]> {
  if (!wanted) return [];
  const pods = new Map<string, PodRef>();
  for (const s of mesh.services())
    for (const pod of waypointPods(mesh, s)) pods.set(`${pod.name}.${pod.namespace}`, pod);
  const out: WaypointSeen[] = [];
  for (const pod of pods.values()) {
    const dumped = await fetchWaypointDump(kube, pod);
    const path = '/ambient/connections?recent';
    const seen = (await callPodJson(kube, pod, adminPort, 'GET', path)) as SeenRequest[];
    out.push({ ...dumped, seen });
  }
  return out;
}

function simulateCommand(): Command {
  return new Command('simulate')
    .summary('which connections a policy would cut, before it is applied')
    .description(
      'Judges every connection that the proxies carry or have recorded, with and without the policies of a file; for policies with targetRefs, every request that waypoints have recorded. Applies nothing. Exit code 5 if something would be cut.',
    )
    .requiredOption(
      '-f, --filename <file>',
      'AuthorizationPolicy and PeerAuthentication YAML, - for standard input',
    )
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', '\nExample:\n  ambientctl authz simulate -f policy.yaml\n')
    .action(async (f: { filename: string; output: string }, self: Command) => {
      const format = readFormat(f.output);
      const globals = self.optsWithGlobals<GlobalFlags>();
      const kube = await connect(globals);
      const { dump } = await loadDump(
        () => Promise.resolve(kube),
        globals.istioNamespace,
        undefined,
        {
          proxyAdminPort: adminPort,
        },
      );
      const before = readMeshDump(dump.raw).mesh;
      const after = readMeshDump(dump.raw).mesh;
      const labels = await podLabels(kube);
      const objects = readObjects(f.filename, namespaceOf(globals, kube));
      const added = await readPolicies(objects, globals.istioNamespace, labels);
      withPolicies(after, added.policies);
      await applyMutualTls(kube, after, objects, globals.istioNamespace, labels);
      const { blindSpots, simulateRequests } = await import('../explain/simulate-l7.ts');
      const atWaypoints = await seenRequests(kube, before, added.requests.length > 0);
      const rows = [
        ...simulate(before, after, await seenConnections(kube, globals.istioNamespace)),
        ...simulateRequests(atWaypoints, added.requests, globals.istioNamespace),
      ];
      const cut = rows.filter((r) => r.before === 'allowed' && r.after === 'refused');
      const short = (): string => {
        const table = rows.map((r) => [
          r.source,
          r.destination,
          r.live ? 'live' : 'recorded',
          String(r.count),
          r.before === r.after ? r.after : `${r.before} → ${r.after}`,
          r.decidedBy,
        ]);
        const head = ['SOURCE', 'DESTINATION', 'SEEN', 'COUNT', 'VERDICT', 'DECIDED BY'];
        const notes = [
          ...added.policies
            .filter((a) => a.status && a.status.reason !== 'Accepted')
            .map((a) => `${a.policy.key}: ${a.status?.message ?? ''}`),
          ...blindSpots(added.requests),
        ].map((n) => `note: ${n}\n`);
        const sum = `${cut.length} of ${rows.length} pairs that have talked would be cut\n`;
        return `${printTable([head, ...table])}${notes.join('')}${sum}`;
      };
      process.stdout.write(printData(format, { connections: rows, cut: cut.length }, short));
      process.exitCode = cut.length > 0 ? 5 : 0;
    });
}

export function authzCommand(): Command {
  const group = new Command('authz')
    .summary('who may reach a workload; what a policy would change')
    .description('Authorization: who may reach a workload, and what a policy would change.');
  group.addCommand(checkCommand());
  group.addCommand(simulateCommand());
  return group;
}
