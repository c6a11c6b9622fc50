// Where a dump comes from: a file, the ztunnel of a node, a named ztunnel pod, or a workload's ztunnel.
import { readFileSync } from 'node:fs';
import type { KubeClient } from '../../core/kube/index.ts';
import { callPodJson } from '../admin-client.ts';
import { CliError } from '../errors.ts';
import { parseReference, podSpec, resolvePod, type ZtunnelPod, ztunnelPods } from '../refs.ts';
import { type Dump, readDump } from './dump.ts';

export interface SourceFlags {
  readonly file?: string | undefined;
  readonly node?: string | undefined;
  readonly proxyAdminPort: number;
}

export interface DumpSource {
  readonly dump: Dump;
  /** The workload pod that was named, to filter by. */
  readonly pod?: { readonly namespace: string; readonly name: string };
}

function readFileDump(file: string): Dump {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new CliError(`cannot read ${file}: ${error instanceof Error ? error.message : 'failed'}`);
  }
  try {
    return readDump(JSON.parse(text));
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`${file} is not JSON`);
  }
}

/** The ztunnel a command means. `insist`: with several ztunnels one must be chosen. */
export async function chooseZtunnel(
  kube: KubeClient,
  istioNamespace: string,
  argument: string | undefined,
  node: string | undefined,
  insist: boolean,
): Promise<{ ztunnel: ZtunnelPod; pod?: { namespace: string; name: string } }> {
  const all = await ztunnelPods(kube, istioNamespace);
  const [first] = all;
  if (!first) {
    throw new CliError(
      `no running ztunnel pods in namespace "${istioNamespace}"; is the mesh installed?`,
    );
  }
  if (node !== undefined) {
    const hit = all.find((z) => z.node === node);
    if (!hit) throw new CliError(`no pods found on node "${node}"`);
    return { ztunnel: hit };
  }
  if (argument === undefined || argument === 'ds/ztunnel' || argument === 'daemonset/ztunnel') {
    if (insist && argument === undefined && all.length > 1) {
      throw new CliError('ztunnel pod name or --node must be set');
    }
    return { ztunnel: first };
  }
  const named = parseReference(argument, istioNamespace);
  const direct = all.find((z) => z.name === named.name && z.namespace === named.namespace);
  if (direct) return { ztunnel: direct };
  const reference = parseReference(argument, kube.namespace);
  const pod = await resolvePod(kube, reference);
  const its = all.find((z) => z.node === podSpec(pod).nodeName);
  if (!its) throw new CliError(`no ztunnel runs on the node of pod "${pod.metadata.name}"`);
  return {
    ztunnel: its,
    pod: { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name },
  };
}

export async function loadDump(
  connect: () => Promise<KubeClient>,
  istioNamespace: string,
  argument: string | undefined,
  flags: SourceFlags,
  insist = false,
): Promise<DumpSource> {
  const given = [flags.file, flags.node, argument].filter((x) => x !== undefined);
  if (given.length > 1)
    throw new CliError('at most one of --file, --node, or pod name must be passed');
  if (flags.file !== undefined) return { dump: readFileDump(flags.file) };
  const kube = await connect();
  const { ztunnel, pod } = await chooseZtunnel(kube, istioNamespace, argument, flags.node, insist);
  const dump = readDump(
    await callPodJson(kube, ztunnel, flags.proxyAdminPort, 'GET', '/config_dump'),
  );
  return pod ? { dump, pod } : { dump };
}
