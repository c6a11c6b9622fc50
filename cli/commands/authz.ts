// `ambientctl authz check|simulate`: who may reach a workload; what a policy would cut before it is applied.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { type MeshState, podUid, readMeshDump, type Workload } from '../../core/model/index.ts';
import { callPodJson } from '../admin-client.ts';
import { readManifests } from '../apply.ts';
import { connect, type GlobalFlags, namespaceOf } from '../connect.ts';
import { CliError } from '../errors.ts';
import {
  reach,
  type SeenConnection,
  simulate,
  withMutualTls,
  withPolicies,
} from '../explain/authz.ts';
import { findWorkload } from '../explain/find.ts';
import { printData, printTable, readFormat } from '../output.ts';
import { adminPort, ztunnelPods } from '../refs.ts';
import { loadDump } from '../ztunnel/source.ts';

function checkCommand(): Command {
  return new Command('check')
    .summary('who may reach a workload')
    .description(
      'Judges every identity of the mesh, and plaintext, against each port of a workload.',
    )
    .argument('<workload>', 'pod/x, deploy/x or svc/x, optionally with .namespace')
    .option('--dump <file>', 'a config dump instead of a live proxy, - for standard input')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', '\nExample:\n  ambientctl authz check deploy/productpage-v1\n')
    .action(async (ref: string, f: { dump?: string; output: string }, self: Command) => {
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
      const rows = reach(mesh, findWorkload(mesh, ref, globals.namespace ?? 'default'));
      const table = rows.map((r) => [
        r.source,
        String(r.port),
        r.allowed ? 'allowed' : 'refused',
        r.decidedBy,
      ]);
      const short = (): string =>
        printTable([['SOURCE', 'PORT', 'VERDICT', 'DECIDED BY'], ...table]);
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

async function readPolicies(objects: readonly KubeObject[], rootNamespace: string, labels: Labels) {
  const { readAuthorizationPolicy, selects, translatePolicy } = await import(
    '../../istiod-lite/index.ts'
  );
  return objects
    .filter((o) => o.kind === 'AuthorizationPolicy')
    .map((o) => {
      const facts = readAuthorizationPolicy(o);
      const { policy, status } = translatePolicy(facts, rootNamespace);
      if (!policy) {
        const why = status?.message ?? 'it has targetRefs, so a waypoint enforces it';
        throw new CliError(`${facts.namespace}/${facts.name} is not enforced by ztunnel: ${why}`);
      }
      const reaches = (w: Workload): boolean =>
        (w.namespace === facts.namespace || facts.namespace === rootNamespace) &&
        facts.selector !== undefined &&
        facts.selector.size > 0 &&
        selects(facts.selector, labels.get(w.uid) ?? new Map<string, string>());
      return { policy, selects: reaches, status };
    });
}

function simulateCommand(): Command {
  return new Command('simulate')
    .summary('which connections a policy would cut, before it is applied')
    .description(
      'Judges every connection that the proxies carry or have recorded, with and without the policies of a file. Applies nothing. Exit code 5 if something would be cut.',
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
      withPolicies(after, added);
      await applyMutualTls(kube, after, objects, globals.istioNamespace, labels);
      const rows = simulate(before, after, await seenConnections(kube, globals.istioNamespace));
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
        const notes = added
          .filter((a) => a.status && a.status.reason !== 'Accepted')
          .map((a) => `note: ${a.policy.key}: ${a.status?.message ?? ''}\n`);
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
