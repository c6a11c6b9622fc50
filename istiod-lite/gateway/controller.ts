// The Gateway API side of the control plane: watches its kinds, makes classes, deploys waypoints, writes
// status, and gives translation what it needs to know about waypoints.
import type { Clock, Log } from '../../core/base/index.ts';
import {
  type KubeClient,
  type KubeObject,
  type Resource,
  resources,
} from '../../core/kube/index.ts';
import type { Service, Workload } from '../../core/model/index.ts';
import type { ClusterState, EventType, ObjectKey, Touched } from '../cluster/index.ts';
import type { MeshSettings } from '../translate/index.ts';
import { keySources } from './authentication.ts';
import { authenticationStatus } from './authentication-status.ts';
import { KeySets } from '../keys/key-sets.ts';
import { meshConfigName } from './mesh-config.ts';
import { backendTlsStatus } from './backend-tls-status.ts';
import { backendTrafficStatus } from './backend-traffic.ts';
import { type Senders, sendersIn } from './policy-ancestors.ts';
import { readRoots, type RootsFacts, rootsKey } from './backend-tls.ts';
import { NamedConfigMaps } from './named-config-maps.ts';
import {
  classDefaultsLabel,
  parametersKey,
  type ParametersFacts,
  readParameters,
} from './parameters.ts';
import { pluginsConfigName } from './plugins.ts';
import { rateLimitStatus } from './rate-limit-status.ts';
import type { World } from './binding.ts';
import { entryServices } from './entry-services.ts';
import { podReference, serviceReference, withWaypoints } from './references.ts';
import type { Template } from './deploy-plan.ts';
import { createClass, Deployer } from './deployer.ts';
import { type GatewayKind, GatewayState, touchBound } from './gateway-state.ts';
import { classes } from './names.ts';
import type { RouteKind } from './objects.ts';
import { type NamedConfig, serviceConfigs } from './service-config.ts';
import { destinationRuleStatus, virtualServiceStatus } from './rule-status.ts';
import {
  classStatus,
  entryStatus,
  policyStatus,
  routeStatus,
  serviceStatus,
} from './status-plan.ts';
import { gatewayStatus } from './gateway-status.ts';
import { GatewayStatusWriter } from './writer.ts';

export const watchedGatewayKinds: readonly (readonly [
  GatewayKind,
  Resource,
  { readonly fieldSelector?: string; readonly labelSelector?: string }?,
])[] = [
  ['GatewayClass', resources.gatewayClasses],
  ['Gateway', resources.gateways],
  ['HTTPRoute', resources.httpRoutes],
  ['GRPCRoute', resources.grpcRoutes],
  ['TCPRoute', resources.tcpRoutes],
  ['TLSRoute', resources.tlsRoutes],
  ['DestinationRule', resources.destinationRules],
  ['VirtualService', resources.virtualServices],
  ['ReferenceGrant', resources.referenceGrants],
  ['Secret', resources.secrets, { fieldSelector: 'type=kubernetes.io/tls' }],
  ['BackendTLSPolicy', resources.backendTlsPolicies],
  ['XBackendTrafficPolicy', resources.backendTrafficPolicies],
  ['RequestAuthentication', resources.requestAuthentications],
  ['RateLimitPolicy', resources.rateLimitPolicies],
  ['PluginSet', resources.configMaps, { fieldSelector: `metadata.name=${pluginsConfigName}` }],
  ['ClassDefaults', resources.configMaps, { labelSelector: classDefaultsLabel }],
  ['MeshConfig', resources.configMaps, { fieldSelector: `metadata.name=${meshConfigName}` }],
];

const routeResources: Readonly<Record<RouteKind, Resource>> = {
  HTTPRoute: resources.httpRoutes,
  GRPCRoute: resources.grpcRoutes,
  TCPRoute: resources.tcpRoutes,
  TLSRoute: resources.tlsRoutes,
};

export interface GatewayControllerOptions {
  readonly kube: KubeClient;
  readonly cluster: ClusterState;
  readonly settings: MeshSettings;
  readonly template: Template;
  readonly clock: Clock;
  readonly log: Log;
  /** Blocks that key sets are never fetched from. */
  readonly blockedKeyAddresses: readonly string[];
  /** Something outside the API server changed: configuration is to be made anew. */
  readonly changed: () => void;
}

export class GatewayController {
  readonly #o: GatewayControllerOptions;
  readonly #state = new GatewayState();
  readonly #world: World;
  readonly #deployer: Deployer;
  readonly #parameters: NamedConfigMaps<ParametersFacts>;
  readonly #roots: NamedConfigMaps<RootsFacts>;
  readonly #status: GatewayStatusWriter;
  readonly #keys: KeySets;
  readonly #served = new Set<GatewayKind>();
  /** What was sent of waypoints, by object; nothing where there is none. */
  #sent: ReadonlyMap<string, string> = new Map();
  /** As told last. */
  #senders: Senders = () => [];

  constructor(o: GatewayControllerOptions) {
    this.#o = o;
    this.#keys = new KeySets({ ...o, blocked: o.blockedKeyAddresses });
    this.#world = {
      cluster: o.cluster,
      gateways: this.#state,
      settings: o.settings,
      keys: (source) => this.#keys.lookup(source),
    };
    this.#deployer = new Deployer({ ...o, gateways: this.#state });
    const { parameters, roots } = this.#state;
    this.#parameters = new NamedConfigMaps({ ...o, read: readParameters, table: parameters });
    this.#roots = new NamedConfigMaps({ ...o, read: readRoots, table: roots });
    this.#status = new GatewayStatusWriter(o.kube, o.clock, o.log);
  }

  get world(): World {
    return this.#world;
  }

  start(): void {
    this.#deployer.start();
  }

  stop(): void {
    this.#keys.stop();
    this.#deployer.stop();
    this.#parameters.stop();
    this.#roots.stop();
    this.#status.stop();
  }

  apply(kind: GatewayKind, type: EventType, o: KubeObject, touched: Touched): void {
    if (kind === 'MeshConfig' && o.metadata.namespace !== this.#o.settings.rootNamespace) return;
    this.#served.add(kind);
    this.#state.apply(kind, type, o);
    if (kind === 'MeshConfig' && this.#state.meshConfig.fault !== undefined) {
      this.#o.log.warn('mesh configuration cannot be read', {
        fault: this.#state.meshConfig.fault,
      });
    }
    if (kind === 'PluginSet') this.#pluginsChanged(`${o.metadata.namespace}/${o.metadata.name}`);
    if (kind === 'RequestAuthentication' || kind === 'PluginSet') touched.policies = true;
    if (kind === 'RequestAuthentication') {
      this.#keys.want(keySources(this.#state.requestAuthentications.values()));
    }
    if (kind === 'GatewayClass' && type === 'DELETED') this.#makeClasses();
    if (kind === 'Gateway' || kind === 'GatewayClass') touchBound(this.#o.cluster, touched);
  }

  #pluginsChanged(configMap: string): void {
    const faults = this.#state.plugins.get(configMap as ObjectKey)?.faults ?? [];
    if (faults.length === 0) return;
    this.#o.log.warn('plugins cannot be read', {
      configMap,
      faults: faults.slice(0, 8).join('; '),
    });
  }

  serviceEvent(type: EventType, o: KubeObject): void {
    this.#state.service(type, o);
    this.#deployer.serviceChanged(type, o);
  }

  /** All kinds have been listed; `exists` tells whether the API has the kind. */
  synced(kind: GatewayKind, exists: boolean): void {
    if (exists) this.#served.add(kind);
    else this.#served.delete(kind);
    if (kind === 'GatewayClass' && exists) this.#makeClasses();
  }

  #makeClasses(): void {
    for (const c of classes) {
      if (this.#state.classes.has(`/${c.name}`)) continue;
      const object: KubeObject = {
        apiVersion: 'gateway.networking.k8s.io/v1',
        kind: 'GatewayClass',
        metadata: { name: c.name, labels: { 'app.kubernetes.io/part-of': 'ambient-lite' } },
        spec: { controllerName: c.controller, description: c.description },
      };
      createClass(this.#o.kube, object).catch((error: unknown) =>
        this.#o.log.warn('cannot create a GatewayClass', { name: c.name, error }),
      );
    }
  }

  /** What policies name is followed. `true` = all of it is known: nothing would be refused for want of it. */
  follow(): boolean {
    return this.#roots.settle([...this.#state.backendTls.values()].map(rootsKey));
  }

  /** Before translation: whatever changed a reference to a waypoint, those that carry it are written again. */
  touch(touched: Touched): void {
    this.follow();
    const sent = new Map<string, string>();
    const { cluster } = this.#o;
    const note = (
      kind: 'services' | 'pods',
      o: { namespace: string; name: string },
      now: string,
    ) => {
      const key = `${o.namespace}/${o.name}`;
      const at = `${kind}/${key}`;
      if (now !== '') sent.set(at, now);
      if ((this.#sent.get(at) ?? '') !== now) touched[kind].add(key);
    };
    for (const s of cluster.services.all()) note('services', s, serviceReference(this.#world, s));
    for (const p of cluster.pods.all()) note('pods', p, podReference(this.#world, p));
    for (const e of cluster.serviceEntries.all()) {
      const [first] = entryServices(e).values();
      const now = first ? serviceReference(this.#world, first) : '';
      const at = `entries/${e.namespace}/${e.name}`;
      if (now !== '') sent.set(at, now);
      if ((this.#sent.get(at) ?? '') !== now) touched.entries = true;
    }
    this.#sent = sent;
  }

  withWaypoints(out: {
    readonly services: readonly Service[];
    readonly workloads: readonly Workload[];
  }): { services: Service[]; workloads: Workload[] } {
    return withWaypoints(this.#world, out);
  }

  configs(): NamedConfig[] {
    const made = serviceConfigs(this.#world);
    this.#senders = sendersIn(made);
    return made;
  }

  /** After translation: deployments and status. */
  reconcile(): void {
    const { cluster } = this.#o;
    const world = this.#world;
    const standing = [...this.#state.gateways.values()].filter((g) => !g.deleting);
    this.#parameters.settle(standing.map(parametersKey));
    for (const g of this.#state.gateways.values()) {
      this.#deployer.want(g);
      this.#want(resources.gateways, g, (now) => {
        const fresh = this.#state.gateways.get(`${g.namespace}/${g.name}`);
        const refused = this.#deployer.refusal(`${g.namespace}/${g.name}`);
        return fresh && gatewayStatus(world, fresh, now, refused);
      });
    }
    for (const c of this.#state.classes.values()) {
      this.#want(resources.gatewayClasses, c, (now) => {
        const fresh = this.#state.classes.get(`/${c.name}`);
        return fresh && classStatus(fresh, now);
      });
    }
    for (const [key, r] of this.#state.routes) {
      this.#want(routeResources[r.kind], r, (now) => {
        const fresh = this.#state.routes.get(key);
        return fresh && routeStatus(world, fresh, now);
      });
    }
    const { destinationRules, virtualServices } = this.#state;
    for (const [key, r] of destinationRules) {
      this.#want(resources.destinationRules, r, (now) => {
        const fresh = destinationRules.get(key);
        return fresh && destinationRuleStatus(world, fresh, now);
      });
    }
    for (const [key, v] of virtualServices) {
      this.#want(resources.virtualServices, v, (now) => {
        const fresh = virtualServices.get(key);
        return fresh && virtualServiceStatus(world, fresh, now);
      });
    }
    const { backendTls, backendTraffic, requestAuthentications, rateLimits } = this.#state;
    for (const [key, p] of backendTls) {
      this.#want(resources.backendTlsPolicies, p, (now) => {
        const fresh = backendTls.get(key);
        return fresh && backendTlsStatus(world, fresh, this.#senders, now);
      });
    }
    for (const [key, p] of backendTraffic) {
      this.#want(resources.backendTrafficPolicies, p, (now) => {
        const fresh = backendTraffic.get(key);
        return fresh && backendTrafficStatus(world, fresh, this.#senders, now);
      });
    }
    for (const [key, p] of rateLimits) {
      this.#want(resources.rateLimitPolicies, p, (now) => {
        const fresh = rateLimits.get(key);
        return fresh && rateLimitStatus(world, fresh, now);
      });
    }
    for (const [key, p] of requestAuthentications) {
      this.#want(resources.requestAuthentications, p, (now) => {
        const fresh = requestAuthentications.get(key);
        return fresh && authenticationStatus(world, fresh, now);
      });
    }
    for (const s of cluster.services.all()) {
      this.#want(resources.services, s, (now) => {
        const fresh = cluster.services.get(s.namespace, s.name);
        return fresh && serviceStatus(world, fresh, now);
      });
    }
    for (const e of cluster.serviceEntries.all()) {
      this.#want(resources.serviceEntries, e, (now) => {
        const fresh = cluster.serviceEntries.get(e.namespace, e.name);
        return fresh && entryStatus(world, fresh, now);
      });
    }
    for (const p of cluster.authorizationPolicies.all()) {
      if (p.targetRefs.length === 0) continue;
      this.#want(resources.authorizationPolicies, p, (now) => {
        const fresh = cluster.authorizationPolicies.get(p.namespace, p.name);
        return fresh && policyStatus(world, fresh, now);
      });
    }
  }

  #want(
    resource: Resource,
    o: { readonly namespace: string; readonly name: string },
    build: (now: string) => object | undefined,
  ): void {
    const namespace = resource.namespaced ? o.namespace : undefined;
    this.#status.want({ resource, namespace, name: o.name, build });
  }
}
