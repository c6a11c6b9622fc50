// Who is called: a service or a pod as people type it, with the port that is meant.
import { parsePort } from '../../core/base/index.ts';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { CliError } from '../errors.ts';
import { parseReference, podStatus, type Reference, resolvePod } from '../refs.ts';

export interface Target {
  readonly label: string;
  /** What the probe asks for. */
  readonly destination: string;
  readonly port: number;
  /** The service that was named. */
  readonly service?: KubeObject;
}

export const podLabel = (p: KubeObject): string =>
  `${p.metadata.name}.${p.metadata.namespace ?? ''}`;

function splitPort(text: string): { ref: string; port: number | undefined } {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { ref: text, port: undefined };
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) throw new CliError(`"${text}": "${text.slice(colon + 1)}" is no port`);
  return { ref: text.slice(0, colon), port };
}

async function serviceTarget(
  kube: KubeClient,
  r: Reference,
  port: number | undefined,
): Promise<Target> {
  const service = await kube.get(resources.services, r.namespace, r.name);
  if (!service) throw new CliError(`service "${r.name}" not found in namespace "${r.namespace}"`);
  const spec = service['spec'] as { clusterIP?: string; ports?: { port: number }[] };
  const chosen = port ?? spec.ports?.[0]?.port;
  if (chosen === undefined)
    throw new CliError(`service "${r.name}" has no port; write svc/${r.name}:PORT`);
  if (!spec.ports?.some((p) => p.port === chosen)) {
    const known = (spec.ports ?? []).map((p) => p.port).join(', ');
    throw new CliError(`service "${r.name}" has no port ${chosen}; it has ${known}`);
  }
  const label = `${r.name}.${r.namespace}`;
  if (spec.clusterIP && spec.clusterIP !== 'None') {
    return { label, destination: `${spec.clusterIP}:${chosen}`, port: chosen, service };
  }
  const pod = await resolvePod(kube, { ...r, kind: 'service' });
  return { label, destination: `${podStatus(pod).podIP ?? ''}:${chosen}`, port: chosen, service };
}

async function podTarget(
  kube: KubeClient,
  r: Reference,
  port: number | undefined,
): Promise<Target> {
  const pod = await resolvePod(kube, r);
  const containers = (pod['spec'] as { containers?: { ports?: { containerPort: number }[] }[] })
    .containers;
  const chosen = port ?? containers?.flatMap((c) => c.ports ?? [])[0]?.containerPort;
  if (chosen === undefined)
    throw new CliError(`pod "${pod.metadata.name}" exposes no port; write ${r.name}:PORT`);
  const ip = podStatus(pod).podIP;
  if (!ip) throw new CliError(`pod "${pod.metadata.name}" has no address yet`);
  return { label: podLabel(pod), destination: `${ip}:${chosen}`, port: chosen };
}

/** `svc/x[:port]`, `pod/x[:port]`, a bare name: the service of that name, if there is one and no pod. */
export async function findTarget(
  kube: KubeClient,
  text: string,
  namespace: string,
): Promise<Target> {
  const { ref, port } = splitPort(text);
  const r = parseReference(ref, namespace);
  const isService = r.kind === 'service' || (r.kind === 'any' && (await isServiceName(kube, r)));
  return isService ? serviceTarget(kube, r, port) : podTarget(kube, r, port);
}

async function isServiceName(kube: KubeClient, r: Reference): Promise<boolean> {
  if (await kube.get(resources.pods, r.namespace, r.name)) return false;
  return (await kube.get(resources.services, r.namespace, r.name)) !== undefined;
}
