// Gateway → the objects that serve it (control-plane.md 6.3). Pure: the template is an argument, the outcome
// plain objects to be applied.
import type { KubeObject } from '../../core/kube/index.ts';
import type { Dict } from '../cluster/index.ts';
import type { MeshSettings } from '../translate/index.ts';
import { bindPort } from './listeners.ts';
import {
  type ClassSpec,
  gatewayClassLabel,
  gatewayNameLabel,
  managedLabel,
  specOfController,
} from './names.ts';
import type { GatewayFacts } from './objects.ts';

/** A Deployment as manifests/waypoint/deployment.yaml has it. */
export type Template = Readonly<Record<string, unknown>>;

export interface Desired {
  readonly serviceAccount: KubeObject;
  readonly deployment: KubeObject;
  readonly service: KubeObject;
  /** These two only where parameters ask for them. */
  readonly horizontalPodAutoscaler?: KubeObject | undefined;
  readonly podDisruptionBudget?: KubeObject | undefined;
}

type Json = Record<string, unknown>;

const record = (v: unknown): Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : {};

/** RFC 7396. */
export function mergeJson(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const out: Json = { ...record(target) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = mergeJson(out[key], value);
  }
  return out;
}

const nameOverride = 'gateway.istio.io/name-override';
const accountOverride = 'gateway.istio.io/service-account';
const neverCopied = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  nameOverride,
  accountOverride,
  'gateway.istio.io/controller-version',
]);

const copied = (d: Dict): Record<string, string> =>
  Object.fromEntries(
    [...d].filter(([k]) => !neverCopied.has(k) && !k.startsWith('gateway.networking.k8s.io/')),
  );

export const generatedName = (g: GatewayFacts, spec: ClassSpec): string =>
  g.annotations.get(nameOverride) ?? `${g.name}${spec.suffix}`;

/** A Gateway that means an existing Service: nothing is made for it. */
export function isManual(g: GatewayFacts): boolean {
  return g.addresses.length > 1 || g.addresses[0]?.type === 'Hostname';
}

/** What somebody else made is never overwritten. */
export const isOurs = (existing: KubeObject): boolean =>
  existing.metadata.labels?.[managedLabel] !== undefined;

export function isWaypoint(spec: ClassSpec): boolean {
  return spec.suffix === '';
}

export function planDeployment(
  g: GatewayFacts,
  controller: string,
  template: Template,
  m: MeshSettings,
): Desired | undefined {
  const spec = specOfController(controller);
  if (!spec || isManual(g) || g.deleting) return undefined;
  const name = generatedName(g, spec);
  const account = g.annotations.get(accountOverride) ?? name;
  const labels = {
    ...copied(g.infrastructure?.labels ?? g.labels),
    [managedLabel]: controller.replace('/', '-'),
    [gatewayNameLabel]: g.name,
    [gatewayClassLabel]: g.className,
  };
  const annotations = copied(g.infrastructure?.annotations ?? g.annotations);
  const metadata = {
    name,
    namespace: g.namespace,
    labels,
    annotations,
    ownerReferences: [
      {
        apiVersion: 'gateway.networking.k8s.io/v1',
        kind: 'Gateway',
        name: g.name,
        uid: g.uid,
        controller: true,
      },
    ],
  };
  return {
    serviceAccount: {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { ...metadata, name: account },
    },
    deployment: deployment(g, template, m, {
      metadata,
      labels,
      annotations,
      account,
      role: isWaypoint(spec) ? 'waypoint' : 'ingress',
    }),
    service: service(g, spec, metadata),
  };
}

interface Parts {
  readonly metadata: KubeObject['metadata'];
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
  readonly account: string;
  readonly role: 'waypoint' | 'ingress';
}

function deployment(
  g: GatewayFacts,
  template: Template,
  m: MeshSettings,
  parts: Parts,
): KubeObject {
  const own = record(template['spec']);
  const pod = record(own['template']);
  const podMeta = record(pod['metadata']);
  const podSpec = record(pod['spec']);
  const env = [
    ['TRUST_DOMAIN', m.trustDomain],
    ['CLUSTER_ID', m.clusterId],
    ['NETWORK', m.network],
    ['GATEWAY_NAME', g.name],
    ['GATEWAY_ROLE', parts.role],
  ].map(([name, value]) => ({ name, value }));
  const containers = (podSpec['containers'] as Json[] | undefined) ?? [];
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: parts.metadata,
    spec: {
      ...own,
      selector: { matchLabels: { [gatewayNameLabel]: g.name } },
      template: {
        metadata: {
          labels: {
            ...parts.labels,
            'istio.io/dataplane-mode': 'none',
            'sidecar.istio.io/inject': 'false',
            'service.istio.io/canonical-name': parts.metadata.name,
            'service.istio.io/canonical-revision': 'latest',
          },
          annotations: { ...parts.annotations, ...record(podMeta['annotations']) },
        },
        spec: {
          ...podSpec,
          serviceAccountName: parts.account,
          containers: containers.map((c, i) =>
            i === 0 ? { ...c, env: [...((c['env'] as Json[] | undefined) ?? []), ...env] } : c,
          ),
        },
      },
    },
  };
}

function service(g: GatewayFacts, spec: ClassSpec, metadata: KubeObject['metadata']): KubeObject {
  const ports = new Map<number, Json>();
  ports.set(15021, { name: 'status-port', port: 15021, protocol: 'TCP', appProtocol: 'tcp' });
  for (const l of g.listeners) {
    const appProtocol = l.protocol.toLowerCase();
    if (ports.has(l.port)) continue;
    const targetPort = isWaypoint(spec) ? l.port : bindPort(l.port);
    ports.set(l.port, { name: l.name, port: l.port, targetPort, protocol: 'TCP', appProtocol });
  }
  const wanted = g.annotations.get('networking.istio.io/service-type') ?? spec.serviceType;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: isWaypoint(spec)
      ? {
          ...metadata,
          annotations: {
            ...metadata.annotations,
            'networking.istio.io/traffic-distribution': 'PreferClose',
          },
        }
      : metadata,
    spec: {
      type: wanted,
      selector: { [gatewayNameLabel]: g.name },
      ports: [...ports.values()],
    },
  };
}
