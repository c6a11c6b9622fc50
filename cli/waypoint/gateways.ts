// Waypoints as Gateway objects: made, read, waited for. No text for people in here.
import { setTimeout as pause } from 'node:timers/promises';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import { CliError } from '../errors.ts';

export const waypointClass = 'istio-waypoint';
export const trafficTypes = ['all', 'none', 'service', 'workload'] as const;
export const useWaypoint = 'istio.io/use-waypoint';
const revisionLabel = 'istio.io/rev';
const trafficLabel = 'istio.io/waypoint-for';

export interface WaypointWish {
  readonly name: string;
  /** Absent = left to whoever applies it. */
  readonly namespace?: string | undefined;
  readonly traffic?: string | undefined;
  readonly revision?: string | undefined;
}

/** Throws CliError for a reserved name or an unknown traffic type. */
export function makeGateway(w: WaypointWish): KubeObject {
  if (w.name === 'none') {
    throw new CliError("invalid name provided for waypoint, 'none' is a reserved value");
  }
  if (w.traffic !== undefined && !trafficTypes.some((t) => t === w.traffic)) {
    throw new CliError(
      `failed to create gateway: invalid traffic type: ${w.traffic}. Valid options are: [${trafficTypes.join(' ')}]`,
    );
  }
  const labels = {
    ...(w.traffic !== undefined && { [trafficLabel]: w.traffic }),
    ...(w.revision !== undefined && { [revisionLabel]: w.revision }),
  };
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: {
      ...(Object.keys(labels).length > 0 && { labels }),
      name: w.name,
      ...(w.namespace !== undefined && { namespace: w.namespace }),
    },
    spec: {
      gatewayClassName: waypointClass,
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  };
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface WaypointRow {
  readonly namespace: string;
  readonly name: string;
  readonly revision: string;
  /** As labelled; `none` where there is no label, as Istio prints it. */
  readonly trafficType: string;
  readonly programmed: 'True' | 'False' | 'Unknown';
  readonly addresses: readonly string[];
  readonly conditions: readonly Condition[];
  /** There is no such Gateway; these services ask for it. */
  readonly missingFor?: readonly string[];
}

interface Status {
  readonly conditions?: readonly Condition[];
  readonly addresses?: readonly { readonly value?: string }[];
}

export function readWaypoint(o: KubeObject): WaypointRow {
  const status = (o['status'] ?? {}) as Status;
  const conditions = status.conditions ?? [];
  const programmed = conditions.find((c) => c.type === 'Programmed')?.status;
  return {
    namespace: o.metadata.namespace ?? '',
    name: o.metadata.name,
    revision: o.metadata.labels?.[revisionLabel] ?? 'default',
    trafficType: o.metadata.labels?.[trafficLabel] ?? 'none',
    programmed: programmed === 'True' || programmed === 'False' ? programmed : 'Unknown',
    addresses: (status.addresses ?? []).map((a) => a.value ?? ''),
    conditions,
  };
}

const isWaypoint = (o: KubeObject): boolean =>
  (o['spec'] as { gatewayClassName?: string } | undefined)?.gatewayClassName === waypointClass;

/** Waypoints that services ask for and that do not exist, by what the services' status says. */
export function missingWaypoints(
  services: readonly KubeObject[],
  rows: readonly WaypointRow[],
): WaypointRow[] {
  const asked = new Map<string, string[]>();
  for (const s of services) {
    const conditions = ((s['status'] ?? {}) as Status).conditions ?? [];
    const c = conditions.find((x) => x.type === 'istio.io/WaypointBound');
    if (c?.status !== 'False' || c.reason !== 'WaypointIsNotReady') continue;
    const name = /"([^"/]+\/[^"/]+)"/.exec(c.message)?.[1];
    if (name === undefined || rows.some((r) => `${r.namespace}/${r.name}` === name)) continue;
    const who = `${s.metadata.namespace ?? ''}/${s.metadata.name}`;
    asked.set(name, [...(asked.get(name) ?? []), who]);
  }
  return [...asked].map(([key, missingFor]) => {
    const [namespace = '', name = ''] = key.split('/');
    const message = `no such Gateway; asked for by ${missingFor.join(', ')}`;
    const condition = { type: 'Programmed', status: 'False', reason: 'Missing', message };
    return {
      namespace,
      name,
      revision: 'default',
      trafficType: 'none',
      programmed: 'False',
      addresses: [],
      conditions: [condition],
      missingFor,
    };
  });
}

/** `any` is false when there is no Gateway of any class. */
export async function listWaypoints(
  kube: KubeClient,
  namespace: string | undefined,
): Promise<{ readonly any: boolean; readonly rows: readonly WaypointRow[] }> {
  const { items } = await kube.list(resources.gateways, namespace);
  const rows = items.filter(isWaypoint).map(readWaypoint);
  const key = (r: WaypointRow): string => `${r.namespace}/${r.name}`;
  return { any: items.length > 0, rows: rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)) };
}

const pollMs = 250;

/** The waypoint once it is programmed; `undefined` = not within the time. */
export async function waitProgrammed(
  kube: KubeClient,
  namespace: string,
  name: string,
  limitMs: number,
): Promise<WaypointRow | undefined> {
  const end = performance.now() + limitMs;
  for (;;) {
    const o = await kube.get(resources.gateways, namespace, name);
    const row = o && readWaypoint(o);
    if (row?.programmed === 'True') return row;
    if (performance.now() > end) return undefined;
    await pause(Math.min(pollMs, Math.max(1, end - performance.now())));
  }
}

/** Throws the message istioctl gives where the Gateway API is not installed. */
export async function needGatewayApi(kube: KubeClient): Promise<void> {
  try {
    await kube.raw('GET', '/apis/gateway.networking.k8s.io/v1');
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 404) throw error;
    throw new CliError(
      'missing Kubernetes Gateway CRDs need to be installed before applying a waypoint: kubectl apply -f manifests/crds/gateway.networking.k8s.io.yaml',
    );
  }
}
