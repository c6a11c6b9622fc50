// What the mesh knows of one workload or service, in one page: identity, capture, services, policies in force,
// what plaintext would get. Pure, on a mesh.
import { parseIpBytes } from '../../core/base/index.ts';
import {
  authorize,
  type MeshView,
  type Service,
  serviceKey,
  type Workload,
  workloadSpiffeId,
} from '../../core/model/index.ts';

export interface PolicyFact {
  readonly name: string;
  readonly action: string;
  readonly scope: string;
  readonly dryRun: boolean;
  readonly rules: number;
}

export interface WorkloadFacts {
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly identity: string;
  readonly status: string;
  /** `HBONE` = in the mesh. */
  readonly protocol: string;
  readonly waypoint: string;
  readonly services: readonly { readonly host: string; readonly ports: readonly string[] }[];
  readonly policies: readonly PolicyFact[];
  /** Named by the workload and not received: everything is refused until they arrive. */
  readonly missingPolicies: readonly string[];
  /** What a connection without identity would get on each port. */
  readonly plaintext: readonly {
    readonly port: number;
    readonly accepted: boolean;
    readonly decidedBy: string;
  }[];
}

const zero = new Uint8Array(4);

function waypointOf(w: Pick<Workload | Service, 'waypoint'>): string {
  if (!w.waypoint) return 'none';
  return w.waypoint.kind === 'host'
    ? `${w.waypoint.namespace}/${w.waypoint.hostname}`
    : w.waypoint.ip;
}

export function describeWorkload(mesh: MeshView, w: Workload): WorkloadFacts {
  const applicable = mesh.policiesFor(w);
  const ports = [
    ...new Set([...w.services.values()].flatMap((m) => [...m.values()]).filter((p) => p > 0)),
  ];
  return {
    name: w.name,
    namespace: w.namespace,
    addresses: w.addresses,
    node: w.node,
    identity: workloadSpiffeId(w),
    status: w.status,
    protocol: w.protocol,
    waypoint: waypointOf(w),
    services: [...w.services].map(([host, map]) => ({
      host: host.slice(host.indexOf('/') + 1),
      ports: [...map].map(([from, to]) => `${from} → ${to}`),
    })),
    policies: applicable.policies.map((p) => ({
      name: p.key,
      action: p.action.toUpperCase(),
      scope: p.scope,
      dryRun: p.dryRun,
      rules: p.rules.length,
    })),
    missingPolicies: applicable.missing,
    plaintext: ports.map((port) => {
      if (w.protocol === 'TCP') return { port, accepted: true, decidedBy: 'not in the mesh' };
      const destinationIp = parseIpBytes(w.addresses[0] ?? '') ?? zero;
      const v = authorize(applicable, { sourceIp: zero, destinationIp, destinationPort: port });
      return { port, accepted: v.allow, decidedBy: v.by ?? 'no policy refuses it' };
    }),
  };
}

export interface ServiceFacts {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly addresses: readonly string[];
  readonly ports: readonly string[];
  readonly waypoint: string;
  /** False = proxies of other namespaces do not find it. */
  readonly public: boolean;
  readonly endpoints: readonly {
    readonly pod: string;
    readonly address: string;
    readonly healthy: boolean;
    readonly protocol: string;
    readonly identity: string;
  }[];
}

export function describeService(mesh: MeshView, s: Service): ServiceFacts {
  return {
    name: s.name,
    namespace: s.namespace,
    hostname: s.hostname,
    addresses: s.vips.map((v) => v.ip),
    ports: s.ports.map((p) => `${p.servicePort} → ${p.targetPort === 0 ? 'named' : p.targetPort}`),
    waypoint: waypointOf(s),
    public: s.visibility === 'Public',
    endpoints: [...mesh.endpoints(serviceKey(s)).values()].map((e) => {
      const w = mesh.workload(e.workload);
      return {
        pod: w ? `${w.name}.${w.namespace}` : e.workload,
        address: w?.addresses.join(',') ?? '',
        healthy: e.healthy,
        protocol: w?.protocol ?? '',
        identity: w ? workloadSpiffeId(w) : '',
      };
    }),
  };
}

export function printWorkload(f: WorkloadFacts): string {
  const lines = [
    `Pod: ${f.name}.${f.namespace}`,
    `   Address: ${f.addresses.join(', ')} on node ${f.node || '?'}, ${f.status.toLowerCase()}`,
    `   Mesh: ${f.protocol === 'HBONE' ? 'enrolled, reached over mutual TLS' : 'not enrolled, reached in plaintext'}`,
    `   Identity: ${f.identity}`,
    `   Waypoint: ${f.waypoint}`,
  ];
  for (const s of f.services) lines.push(`   Service: ${s.host}  ports ${s.ports.join(', ')}`);
  for (const p of f.policies) {
    lines.push(
      `   Policy: ${p.name}  ${p.action}, ${p.scope}, ${p.rules} rules${p.dryRun ? ', dry run' : ''}`,
    );
  }
  for (const m of f.missingPolicies)
    lines.push(`   Policy: ${m}  NOT RECEIVED: everything is refused until it arrives`);
  for (const p of f.plaintext) {
    lines.push(
      `   Plaintext to port ${p.port}: ${p.accepted ? 'accepted' : 'refused'} (${p.decidedBy})`,
    );
  }
  return `${lines.join('\n')}\n`;
}

export function printService(f: ServiceFacts): string {
  const lines = [
    `Service: ${f.name}.${f.namespace}`,
    `   Host: ${f.hostname}  ${f.addresses.join(', ') || 'headless'}`,
    `   Ports: ${f.ports.join(', ')}`,
    `   Waypoint: ${f.waypoint}`,
    `   Found from: ${f.public ? 'every namespace' : `namespace ${f.namespace} only`}`,
  ];
  for (const e of f.endpoints) {
    lines.push(
      `   Endpoint: ${e.pod}  ${e.address}  ${e.healthy ? 'ready' : 'NOT READY'}  ${e.protocol}  ${e.identity}`,
    );
  }
  if (f.endpoints.length === 0)
    lines.push('   Endpoint: none; check the selector and the pods’ readiness');
  return `${lines.join('\n')}\n`;
}
