// The few fields the control plane reads of each Kubernetes object. Parsed once, here; nothing further in
// sees Kubernetes' own shapes. Every reader takes hostile or half-filled objects (K9).
import { type IpAddress, parseIp } from '../../core/base/index.ts';
import type { KubeMeta, KubeObject } from '../../core/kube/index.ts';

export type Dict = ReadonlyMap<string, string>;

export interface Meta {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Dict;
  readonly annotations: Dict;
  /** Milliseconds; 0 = unknown. */
  readonly created: number;
  readonly generation: number;
}

export interface NamespaceFacts extends Meta {
  readonly deleting: boolean;
}

export interface NodeFacts extends Meta {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
  readonly resourceVersion: string;
  /** As they stand in `spec.taints`. */
  readonly taints: readonly unknown[];
}

export interface ContainerPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

export interface PodFacts extends Meta {
  readonly ips: readonly IpAddress[];
  readonly phase: string;
  readonly ready: boolean;
  readonly deleting: boolean;
  readonly hostNetwork: boolean;
  readonly node: string;
  readonly serviceAccount: string;
  readonly ports: readonly ContainerPort[];
  readonly generateName: string;
  readonly owner?: { readonly kind: string; readonly name: string } | undefined;
}

export interface ServicePortFacts {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
  readonly appProtocol: string;
  /** A number, or the name of a container port. */
  readonly targetPort: number | string;
}

export interface ServiceFacts extends Meta {
  readonly type: string;
  readonly clusterIps: readonly IpAddress[];
  readonly headless: boolean;
  readonly selector: Dict;
  readonly ports: readonly ServicePortFacts[];
  readonly ipFamilies: readonly string[];
  readonly internalTrafficPolicy: string;
  readonly trafficDistribution: string;
  readonly publishNotReady: boolean;
  /** What the load balancer has given it: addresses and names. */
  readonly balancer: readonly string[];
  /** Of a ServiceEntry that is seen as a service: its host. */
  readonly host?: string;
}

export interface SliceEndpoint {
  readonly addresses: readonly IpAddress[];
  /** False only when the ready condition says so. */
  readonly ready: boolean;
  readonly pod?: { readonly name: string; readonly uid: string } | undefined;
}

export interface SliceFacts extends Meta {
  readonly service: string;
  readonly fqdn: boolean;
  readonly ports: readonly {
    readonly name: string;
    readonly port: number;
    readonly protocol: string;
  }[];
  readonly endpoints: readonly SliceEndpoint[];
}

const isObject = (v: unknown): v is Record<string, unknown> =>
  typeof v === 'object' && v !== null && !Array.isArray(v);

export const field = (o: unknown, ...path: string[]): unknown => {
  let at: unknown = o;
  for (const p of path) at = isObject(at) && Object.hasOwn(at, p) ? at[p] : undefined;
  return at;
};

export const text = (v: unknown): string => (typeof v === 'string' ? v : '');
const number = (v: unknown): number => (typeof v === 'number' && Number.isFinite(v) ? v : 0);
export const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
export const texts = (v: unknown): readonly string[] =>
  list(v).filter((x) => typeof x === 'string');

export function dict(v: unknown): Dict {
  const out = new Map<string, string>();
  if (isObject(v)) for (const [k, x] of Object.entries(v)) if (typeof x === 'string') out.set(k, x);
  return out;
}

const ips = (v: readonly string[]): IpAddress[] => v.map(parseIp).filter((ip) => ip !== undefined);

export function readMeta(m: KubeMeta): Meta {
  return {
    name: text(m.name),
    namespace: text(m.namespace),
    uid: text(m.uid),
    labels: dict(m.labels),
    annotations: dict(m.annotations),
    created: Date.parse(text(m.creationTimestamp)) || 0,
    generation: number(m.generation),
  };
}

export function readNamespace(o: KubeObject): NamespaceFacts {
  return { ...readMeta(o.metadata), deleting: o.metadata.deletionTimestamp !== undefined };
}

export function readNode(o: KubeObject): NodeFacts {
  const meta = readMeta(o.metadata);
  return {
    ...meta,
    region: meta.labels.get('topology.kubernetes.io/region') ?? '',
    zone: meta.labels.get('topology.kubernetes.io/zone') ?? '',
    subzone: meta.labels.get('topology.istio.io/subzone') ?? '',
    resourceVersion: o.metadata.resourceVersion ?? '',
    taints: list(field(o['spec'], 'taints')),
  };
}

function readContainerPorts(spec: unknown): ContainerPort[] {
  // Restartable init containers are sidecars: their ports count too (control-plane.md 2.3).
  const sidecars = list(field(spec, 'initContainers')).filter(
    (c) => field(c, 'restartPolicy') === 'Always',
  );
  return [...list(field(spec, 'containers')), ...sidecars].flatMap((c) =>
    list(field(c, 'ports')).map((p) => ({
      name: text(field(p, 'name')),
      port: number(field(p, 'containerPort')),
      protocol: text(field(p, 'protocol')) || 'TCP',
    })),
  );
}

export function readPod(o: KubeObject): PodFacts {
  const spec = o['spec'];
  const status = o['status'];
  const many = list(field(status, 'podIPs')).map((p) => text(field(p, 'ip')));
  const conditions = list(field(status, 'conditions'));
  const owner = (o.metadata.ownerReferences ?? []).find((r) => r.controller === true);
  return {
    ...readMeta(o.metadata),
    ips: ips(many.length > 0 ? many : [text(field(status, 'podIP'))]),
    phase: text(field(status, 'phase')),
    ready: conditions.some((c) => field(c, 'type') === 'Ready' && field(c, 'status') === 'True'),
    deleting: o.metadata.deletionTimestamp !== undefined,
    hostNetwork: field(spec, 'hostNetwork') === true,
    node: text(field(spec, 'nodeName')),
    serviceAccount: text(field(spec, 'serviceAccountName')) || 'default',
    ports: readContainerPorts(spec),
    generateName: text(o.metadata.generateName),
    owner: owner && { kind: text(owner.kind), name: text(owner.name) },
  };
}

export const isPort = (n: unknown): n is number =>
  typeof n === 'number' && Number.isInteger(n) && n > 0 && n < 65_536;

/** None if the port is no port. */
function readServicePort(p: unknown): ServicePortFacts[] {
  const target = field(p, 'targetPort');
  const port = field(p, 'port');
  if (!isPort(port)) return [];
  return [
    {
      name: text(field(p, 'name')),
      port,
      protocol: text(field(p, 'protocol')) || 'TCP',
      appProtocol: text(field(p, 'appProtocol')),
      targetPort: typeof target === 'string' || isPort(target) ? target : port,
    },
  ];
}

export function readService(o: KubeObject): ServiceFacts {
  const spec = o['spec'];
  const many = texts(field(spec, 'clusterIPs'));
  const all = many.length > 0 ? many : [text(field(spec, 'clusterIP'))];
  return {
    ...readMeta(o.metadata),
    type: text(field(spec, 'type')) || 'ClusterIP',
    clusterIps: ips(all),
    headless: all.includes('None'),
    selector: dict(field(spec, 'selector')),
    ports: list(field(spec, 'ports')).flatMap(readServicePort),
    ipFamilies: texts(field(spec, 'ipFamilies')),
    internalTrafficPolicy: text(field(spec, 'internalTrafficPolicy')),
    trafficDistribution: text(field(spec, 'trafficDistribution')),
    publishNotReady: field(spec, 'publishNotReadyAddresses') === true,
    balancer: list(field(o['status'], 'loadBalancer', 'ingress'))
      .map((i) => text(field(i, 'ip')) || text(field(i, 'hostname')))
      .filter((t) => t !== ''),
  };
}

export function readSlice(o: KubeObject): SliceFacts {
  const meta = readMeta(o.metadata);
  return {
    ...meta,
    service: meta.labels.get('kubernetes.io/service-name') ?? '',
    fqdn: o['addressType'] === 'FQDN',
    ports: list(o['ports']).map((p) => ({
      name: text(field(p, 'name')),
      port: number(field(p, 'port')),
      protocol: text(field(p, 'protocol')) || 'TCP',
    })),
    endpoints: list(o['endpoints']).map((e) => {
      const target = field(e, 'targetRef');
      const pod = field(target, 'kind') === 'Pod';
      return {
        addresses: ips(texts(field(e, 'addresses'))),
        ready: field(e, 'conditions', 'ready') !== false,
        pod: pod
          ? { name: text(field(target, 'name')), uid: text(field(target, 'uid')) }
          : undefined,
      };
    }),
  };
}
