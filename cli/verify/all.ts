// Every connection that the proxies carry or have recorded, from all nodes.
import type { KubeClient } from '../../core/kube/index.ts';
import { callPodJson } from '../admin-client.ts';
import { CliError } from '../errors.ts';
import { adminPort, ztunnelPods } from '../refs.ts';
import type { SeenRecord } from './pairs.ts';

/** Live and recent, of every ztunnel. Throws CliError if there is none. */
export async function allRecords(kube: KubeClient, istioNamespace: string): Promise<SeenRecord[]> {
  const ztunnels = await ztunnelPods(kube, istioNamespace);
  if (ztunnels.length === 0)
    throw new CliError(
      `no running ztunnel pods in namespace "${istioNamespace}"; is the mesh installed?`,
    );
  const lists = ztunnels.flatMap((z) =>
    ['live', 'recent'].map((which) =>
      callPodJson(kube, z, adminPort, 'GET', `/ambient/connections?${which}`),
    ),
  );
  return (await Promise.all(lists)).flat() as SeenRecord[];
}
