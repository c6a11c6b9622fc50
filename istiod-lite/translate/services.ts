// Kubernetes Service → model Service (control-plane.md 2.5, 2.6).
import type { AppProtocol, LoadBalancing, Service, ServicePort } from '../../core/model/index.ts';
import type { ClusterState, Dict, ServiceFacts, ServicePortFacts } from '../cluster/index.ts';
import type { MeshSettings } from './settings.ts';

export const serviceHostname = (
  s: { readonly name: string; readonly namespace: string; readonly host?: string },
  m: MeshSettings,
): string => s.host ?? `${s.name}.${s.namespace}.svc.${m.clusterDomain}`;

const byName = new Map<string, AppProtocol>([
  ['http', 'HTTP11'],
  ['http2', 'HTTP2'],
  ['grpc', 'GRPC'],
  ['https', 'TLS'],
  ['tls', 'TLS'],
  ['tcp', 'TCP'],
  ['kubernetes.io/h2c', 'HTTP2'],
  ['kubernetes.io/ws', 'HTTP11'],
  ['kubernetes.io/wss', 'TLS'],
]);
/** Server-first protocols that are TCP unless named otherwise. */
const tcpPorts = new Set([25, 53, 3306, 27017]);

export function appProtocol(p: ServicePortFacts): AppProtocol {
  if (p.protocol !== 'TCP') return 'UNKNOWN';
  if (p.appProtocol !== '') return byName.get(p.appProtocol.toLowerCase()) ?? 'UNKNOWN';
  const named = byName.get(p.name.split('-', 1)[0]?.toLowerCase() ?? '');
  return named ?? (tcpPorts.has(p.port) ? 'TCP' : 'UNKNOWN');
}

const close = ['Network', 'Region', 'Zone'] as const;
const sameNode = ['Network', 'Region', 'Zone', 'Subzone', 'Node'] as const;

function distribution(spec: string, annotation: string | undefined): 'close' | 'node' | undefined {
  if (spec === 'PreferClose' || spec === 'PreferSameZone') return 'close';
  if (spec === 'PreferSameNode') return 'node';
  const text = annotation?.toLowerCase();
  if (text === 'preferclose' || text === 'prefersamezone') return 'close';
  return text === 'prefersamenode' ? 'node' : undefined;
}

/** What a spec field, an annotation of the object or of its namespace ask for (2.6). */
export function distributionOf(
  cluster: ClusterState,
  namespace: string,
  spec: string,
  annotations: Dict,
): LoadBalancing['preferences'] | undefined {
  const key = 'networking.istio.io/traffic-distribution';
  const inherited = cluster.namespaces.get('', namespace)?.annotations.get(key);
  const wanted = distribution(spec, annotations.get(key) ?? inherited);
  return wanted && (wanted === 'node' ? sameNode : close);
}

function balancing(cluster: ClusterState, s: ServiceFacts): LoadBalancing | undefined {
  const healthPolicy = s.publishNotReady ? 'AllowAll' : 'OnlyHealthy';
  if (s.internalTrafficPolicy === 'Local') {
    return { preferences: ['Node'], mode: 'Strict', healthPolicy };
  }
  const preferences = distributionOf(cluster, s.namespace, s.trafficDistribution, s.annotations);
  if (preferences) return { preferences, mode: 'Failover', healthPolicy };
  return s.publishNotReady ? { preferences: [], mode: 'Standard', healthPolicy } : undefined;
}

function families(s: ServiceFacts): Service['ipFamilies'] {
  if (s.ipFamilies.length > 1) return 'Dual';
  if (s.ipFamilies[0] === 'IPv4') return 'IPv4';
  return s.ipFamilies[0] === 'IPv6' ? 'IPv6' : 'Automatic';
}

/** `undefined` = not for proxies (ExternalName). */
export function translateService(
  cluster: ClusterState,
  s: ServiceFacts,
  m: MeshSettings,
): Service | undefined {
  if (s.type === 'ExternalName') return undefined;
  const loadBalancing = balancing(cluster, s);
  return {
    name: s.name,
    namespace: s.namespace,
    hostname: serviceHostname(s, m),
    vips: s.headless ? [] : s.clusterIps.map((ip) => ({ network: m.network, ip })),
    cidrVips: [],
    ports: s.ports.map(
      (p): ServicePort => ({
        servicePort: p.port,
        targetPort: typeof p.targetPort === 'number' ? p.targetPort : 0,
        appProtocol: appProtocol(p),
      }),
    ),
    subjectAltNames: [],
    weightedWaypoints: [],
    ...(loadBalancing && { loadBalancing }),
    ipFamilies: families(s),
    canonical: true,
    visibility: 'Public',
  };
}
