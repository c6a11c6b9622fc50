// All Gateway API objects the control plane knows, and the conditions that Services have now. Says what an
// event may change for the mesh; nothing here asks the API server.
import type { KubeObject } from '../../core/kube/index.ts';
import {
  type ClusterState,
  type Condition,
  type EventType,
  type ObjectKey,
  readConditions,
  type Touched,
} from '../cluster/index.ts';
import { readRequestAuthentication, type RequestAuthenticationFacts } from './authentication.ts';
import { type BackendTrafficFacts, readBackendTrafficPolicy } from './backend-traffic.ts';
import { type BackendTlsFacts, readBackendTlsPolicy, type RootsFacts } from './backend-tls.ts';
import { type ParametersFacts, readParameters } from './parameters.ts';
import { type PluginSetFacts, readPluginSet } from './plugins.ts';
import { type RateLimitFacts, readRateLimitPolicy } from './rate-limits.ts';
import { type MeshConfigFacts, noMeshConfig, readMeshConfig } from './mesh-config.ts';
import {
  type ClassFacts,
  type GatewayFacts,
  type GrantFacts,
  readClass,
  readGateway,
  readGrant,
  readRoute,
  readRule,
  readSecret,
  type RouteFacts,
  type RouteKind,
  type RuleFacts,
  type SecretFacts,
} from './objects.ts';

export type GatewayKind =
  | 'Gateway'
  | 'GatewayClass'
  | 'DestinationRule'
  | 'VirtualService'
  | 'ReferenceGrant'
  | 'Secret'
  | 'RequestAuthentication'
  | 'MeshConfig'
  | 'RateLimitPolicy'
  | 'BackendTLSPolicy'
  | 'XBackendTrafficPolicy'
  | 'PluginSet'
  | 'ClassDefaults'
  | RouteKind;

const keyOf = (o: KubeObject): ObjectKey => `${o.metadata.namespace ?? ''}/${o.metadata.name}`;

export const waypointLabel = 'istio.io/use-waypoint';
export const waypointNamespaceLabel = 'istio.io/use-waypoint-namespace';

function write<T>(table: Map<ObjectKey, T>, key: ObjectKey, value: T, gone: boolean): void {
  if (gone) table.delete(key);
  else table.set(key, value);
}

export class GatewayState {
  readonly gateways = new Map<ObjectKey, GatewayFacts>();
  readonly classes = new Map<ObjectKey, ClassFacts>();
  readonly routes = new Map<ObjectKey, RouteFacts>();
  readonly destinationRules = new Map<ObjectKey, RuleFacts>();
  readonly virtualServices = new Map<ObjectKey, RuleFacts>();
  readonly requestAuthentications = new Map<ObjectKey, RequestAuthenticationFacts>();
  readonly rateLimits = new Map<ObjectKey, RateLimitFacts>();
  readonly backendTls = new Map<ObjectKey, BackendTlsFacts>();
  readonly backendTraffic = new Map<ObjectKey, BackendTrafficFacts>();
  /** Certificates that BackendTLSPolicies name: ConfigMaps, as `parameters`. */
  readonly roots = new Map<ObjectKey, RootsFacts | undefined>();
  readonly plugins = new Map<ObjectKey, PluginSetFacts>();
  readonly grants = new Map<ObjectKey, GrantFacts>();
  /** What Gateways of a class are served by. */
  readonly classDefaults = new Map<ObjectKey, ParametersFacts>();
  /** What Gateways name themselves; see KnownParameters. */
  readonly parameters = new Map<ObjectKey, ParametersFacts | undefined>();
  /** Of type kubernetes.io/tls. */
  readonly secrets = new Map<ObjectKey, SecretFacts>();
  meshConfig: MeshConfigFacts = noMeshConfig;
  readonly serviceConditions = new Map<ObjectKey, readonly Condition[]>();
  /** How many objects have come, changed or gone. */
  changes = 0;

  apply(kind: GatewayKind, type: EventType, o: KubeObject): void {
    const gone = type === 'DELETED';
    const key = keyOf(o);
    this.changes++;
    switch (kind) {
      case 'Gateway':
        write(this.gateways, key, readGateway(o), gone);
        break;
      case 'GatewayClass':
        write(this.classes, key, readClass(o), gone);
        break;
      case 'DestinationRule':
        write(this.destinationRules, key, readRule(o), gone);
        break;
      case 'VirtualService':
        write(this.virtualServices, key, readRule(o), gone);
        break;
      case 'MeshConfig':
        this.meshConfig = gone ? noMeshConfig : readMeshConfig(o, this.meshConfig);
        break;
      case 'ClassDefaults':
        write(this.classDefaults, key, readParameters(o), gone);
        break;
      case 'RequestAuthentication':
        write(this.requestAuthentications, key, readRequestAuthentication(o), gone);
        break;
      case 'RateLimitPolicy':
        write(this.rateLimits, key, readRateLimitPolicy(o), gone);
        break;
      case 'BackendTLSPolicy':
        write(this.backendTls, key, readBackendTlsPolicy(o), gone);
        break;
      case 'XBackendTrafficPolicy':
        write(this.backendTraffic, key, readBackendTrafficPolicy(o), gone);
        break;
      case 'PluginSet':
        write(this.plugins, key, readPluginSet(o, this.plugins.get(key)), gone);
        break;
      case 'ReferenceGrant':
        write(this.grants, key, readGrant(o), gone);
        break;
      case 'Secret':
        write(this.secrets, key, readSecret(o), gone || o['type'] !== 'kubernetes.io/tls');
        break;
      default:
        write(this.routes, `${kind}/${key}`, readRoute(kind, o), gone);
    }
  }

  service(type: EventType, o: KubeObject): void {
    const conditions = readConditions(o);
    write(
      this.serviceConditions,
      keyOf(o),
      conditions,
      type === 'DELETED' || conditions.length === 0,
    );
  }

  controllerOf(gateway: GatewayFacts): string {
    return this.classes.get(`/${gateway.className}`)?.controllerName ?? '';
  }
}

/** Everything that may refer to a waypoint is looked at again. */
export function touchBound(cluster: ClusterState, touched: Touched): void {
  for (const n of cluster.namespaces.all()) {
    if (n.labels.has(waypointLabel)) touched.namespaces.add(n.name);
  }
  for (const s of cluster.services.all()) {
    if (s.labels.has(waypointLabel)) touched.services.add(`${s.namespace}/${s.name}`);
  }
  for (const p of cluster.pods.all()) {
    if (p.labels.has(waypointLabel)) touched.pods.add(`${p.namespace}/${p.name}`);
  }
}
