// Which waypoint stands before a service or pod (control-plane.md 2.7), and what is done when it cannot be
// used: where L7 policy would be skipped the reference is sent all the same, so that every node proxy fails
// closed; else traffic goes direct (design.md 6.2, 8).
import { parseIp } from '../../core/base/index.ts';
import type { GatewayAddress } from '../../core/model/index.ts';
import type {
  ClusterState,
  Dict,
  NamespaceFacts,
  PodFacts,
  ServiceFacts,
} from '../cluster/index.ts';
import type { KeyAnswer, KeySource } from '../keys/key-sets.ts';
import { type MeshSettings, selects } from '../translate/index.ts';
import { type GatewayState, waypointLabel, waypointNamespaceLabel } from './gateway-state.ts';
import type { GatewayFacts } from './objects.ts';

export const hbonePort = 15008;
const trafficLabel = 'istio.io/waypoint-for';
const managedLabel = 'gateway.istio.io/managed';
const managedWithout = new Set(['istio.io-mesh-controller', 'istio.io-eastwest-controller']);

export type UnboundReason = 'WaypointIsNotReady' | 'AttachmentDenied' | 'UnsupportedTrafficType';

export type Binding =
  /** Nothing asks for a waypoint. */
  | { readonly kind: 'none' }
  | { readonly kind: 'bound'; readonly gateway: GatewayFacts; readonly address: GatewayAddress }
  | {
      readonly kind: 'unbound';
      readonly wanted: { readonly namespace: string; readonly name: string };
      readonly reason: UnboundReason;
      readonly message: string;
      /** It may attach, and will once the waypoint is ready: its pods are told already. */
      readonly gateway?: GatewayFacts;
    };

/** What every decision about waypoints reads. */
export interface World {
  readonly cluster: ClusterState;
  readonly gateways: GatewayState;
  readonly settings: MeshSettings;
  /** Keys of token issuers; absent = nobody fetches any. */
  readonly keys?: ((source: KeySource) => KeyAnswer) | undefined;
  /** References to other namespaces need a ReferenceGrant: in routes of ingress gateways, not of services. */
  readonly grantsNeeded?: boolean;
}

type Traffic = 'service' | 'workload';

interface Wish {
  readonly namespace: string;
  readonly name: string;
  /** From the object itself, not its namespace. */
  readonly own: boolean;
}

function wishOf(labels: Dict, home: string, own: boolean): Wish | 'none' | undefined {
  const name = labels.get(waypointLabel);
  if (name === undefined) return undefined;
  if (name === 'none') return 'none';
  return { namespace: labels.get(waypointNamespaceLabel) || home, name, own };
}

/** The listener whose `allowedRoutes` decides, else only the Gateway's own namespace. */
function allows(gateway: GatewayFacts, namespace: NamespaceFacts | undefined): boolean {
  const listener = gateway.listeners.find((l) => l.protocol === 'HBONE' && l.port === hbonePort);
  switch (listener?.from ?? 'Same') {
    case 'All':
      return true;
    case 'Selector':
      return (
        listener !== undefined &&
        namespace !== undefined &&
        selects(listener.selector, namespace.labels)
      );
    case 'Same':
      return namespace?.name === gateway.namespace;
    default:
      return false;
  }
}

export function trafficOf(gateways: GatewayState, gateway: GatewayFacts): string {
  const klass = gateways.classes.get(`/${gateway.className}`);
  return gateway.labels.get(trafficLabel) ?? klass?.labels.get(trafficLabel) ?? 'service';
}

/** Host form first, else the address; `undefined` until the Gateway has one. */
export function addressOf(gateway: GatewayFacts, network: string): GatewayAddress | undefined {
  const { addresses } = gateway.status;
  const host = addresses.find((a) => a.type === 'Hostname')?.value;
  if (host) {
    return { kind: 'host', namespace: gateway.namespace, hostname: host, hboneMtlsPort: hbonePort };
  }
  const ip = parseIp(addresses[0]?.value ?? '');
  return ip && { kind: 'address', network, ip, hboneMtlsPort: hbonePort };
}

/** Whether a pod of this Gateway can take traffic now. Gateways of other makers are believed. */
export function hasEndpoint(
  cluster: ClusterState,
  gateway: GatewayFacts,
  service: string,
): boolean {
  if (!cluster.services.get(gateway.namespace, service)) return gateway.addresses.length > 0;
  for (const slice of cluster.slices.in(gateway.namespace)) {
    if (slice.service === service && slice.endpoints.some((e) => e.ready)) return true;
  }
  return false;
}

function decide(world: World, wish: Wish, home: string, traffic: Traffic): Binding {
  const { cluster, gateways, settings } = world;
  const wanted = { namespace: wish.namespace, name: wish.name };
  const shown = `${wish.namespace}/${wish.name}`;
  const unbound = (reason: UnboundReason, message: string): Binding => ({
    kind: 'unbound',
    wanted,
    reason,
    message,
  });
  const gateway = gateways.gateways.get(shown);
  const notReady = `waypoint "${shown}" is not ready`;
  if (!gateway) {
    // Nobody knows what it would be for; services, unless told otherwise.
    if (traffic === 'workload' && !wish.own) return { kind: 'none' };
    return unbound('WaypointIsNotReady', notReady);
  }
  if (!allows(gateway, cluster.namespaces.get('', home))) {
    const text = `we are not permitted to attach to waypoint "${shown}" (missing allowedRoutes?)`;
    return unbound('AttachmentDenied', text);
  }
  const kind = trafficOf(gateways, gateway);
  if (kind !== traffic && kind !== 'all') {
    if (traffic === 'workload' && !wish.own) return { kind: 'none' };
    const text = `attempting to bind to traffic type "${traffic}" which the waypoint does not support`;
    return unbound('UnsupportedTrafficType', text);
  }
  const address = addressOf(gateway, settings.network);
  if (address && hasEndpoint(cluster, gateway, gateway.name)) {
    return { kind: 'bound', gateway, address };
  }
  return { kind: 'unbound', wanted, reason: 'WaypointIsNotReady', message: notReady, gateway };
}

/** That waypoint by name, for an object of namespace `home` that asks for it itself. */
export function bindTo(
  world: World,
  waypoint: { readonly namespace: string; readonly name: string },
  home: string,
  traffic: Traffic,
): Binding {
  return decide(world, { ...waypoint, own: true }, home, traffic);
}

/** What labels and those of their namespace `home` ask for. */
export function bindLabels(world: World, labels: Dict, home: string, traffic: Traffic): Binding {
  const namespace = world.cluster.namespaces.get('', home);
  const wish = wishOf(labels, home, true) ?? (namespace && wishOf(namespace.labels, home, false));
  if (wish === undefined || wish === 'none') return { kind: 'none' };
  return decide(world, wish, home, traffic);
}

export function bindService(world: World, s: ServiceFacts): Binding {
  if (managedWithout.has(s.labels.get(managedLabel) ?? '')) return { kind: 'none' };
  return bindLabels(world, s.labels, s.namespace, 'service');
}

export function bindPod(world: World, p: PodFacts): Binding {
  if (p.labels.has(managedLabel)) return { kind: 'none' };
  return bindLabels(world, p.labels, p.namespace, 'workload');
}
