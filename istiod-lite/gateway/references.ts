// What node proxies and gateways are told of waypoints: the reference on a service or workload. Where a waypoint cannot be
// used and L7 policy would be skipped, it is sent all the same, so that everybody fails closed (design.md 6.2, 8).
import type { GatewayAddress, Service, Workload } from '../../core/model/index.ts';
import type { PodFacts, ServiceFacts } from '../cluster/index.ts';
import { type Binding, bindPod, bindService, hbonePort, type World } from './binding.ts';
import { canaryOf, weighted } from './canary.ts';
import { serviceHostname } from '../translate/index.ts';
import { entryServices } from './entry-services.ts';
import { policiesAtStake } from './targets.ts';

/** On a Service, pod or namespace: without its waypoint, traffic goes direct even where L7 policy is skipped. */
export const failOpenAnnotation = 'ambientlite.dev/waypoint-fail-open';
const ingressLabel = 'istio.io/ingress-use-waypoint';

function isFailOpen(world: World, s: ServiceFacts | PodFacts): boolean {
  const namespace = world.cluster.namespaces.get('', s.namespace);
  const value =
    s.annotations.get(failOpenAnnotation) ?? namespace?.annotations.get(failOpenAnnotation);
  return value === 'true';
}

/** The reference that goes to node proxies. */
export function serviceWaypoint(world: World, s: ServiceFacts): GatewayAddress | undefined {
  const binding = bindService(world, s);
  return binding.kind === 'bound' ? binding.address : closedWaypoint(world, binding, s, s);
}

export function podWaypoint(world: World, p: PodFacts): GatewayAddress | undefined {
  const binding = bindPod(world, p);
  return binding.kind === 'bound' ? binding.address : closedWaypoint(world, binding, p, undefined);
}

/** Where a policy would be skipped: a reference that leads nowhere. */
function closedWaypoint(
  world: World,
  binding: Exclude<Binding, { kind: 'bound' }>,
  who: ServiceFacts | PodFacts,
  service: ServiceFacts | undefined,
): GatewayAddress | undefined {
  if (binding.kind === 'none' || isFailOpen(world, who)) return undefined;
  const { namespace, name } = binding.wanted;
  if (!policiesAtStake(world, service, `${namespace}/${name}`)) return undefined;
  // A host that need not exist: who cannot find it refuses.
  const hostname = `${name}.${namespace}.svc.${world.settings.clusterDomain}`;
  return { kind: 'host', namespace, hostname, hboneMtlsPort: hbonePort };
}

const yes = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);

/** On the service, else on its namespace; what cannot be read on the service counts as no. */
function ingressUses(world: World, s: ServiceFacts): boolean {
  const namespace = world.cluster.namespaces.get('', s.namespace);
  const value = s.labels.get(ingressLabel) ?? namespace?.labels.get(ingressLabel) ?? '';
  return yes.has(value);
}

type Sent = Pick<Service, 'waypoint' | 'weightedWaypoints' | 'ingressUseWaypoint'>;

function sentWith(world: World, s: ServiceFacts): Sent | undefined {
  const waypoint = serviceWaypoint(world, s);
  if (!waypoint) return undefined;
  const primary = bindService(world, s);
  const weightedWaypoints = weighted(primary, canaryOf(world, s, primary));
  const ingress = ingressUses(world, s);
  return { waypoint, weightedWaypoints, ...(ingress && { ingressUseWaypoint: true }) };
}

/** What is sent with it as one text, to see that it changed; empty = nothing. */
export function serviceReference(world: World, s: ServiceFacts): string {
  const sent = sentWith(world, s);
  return sent ? JSON.stringify(sent) : '';
}

export function podReference(world: World, p: PodFacts): string {
  const sent = podWaypoint(world, p);
  return sent ? JSON.stringify(sent) : '';
}

export function withWaypoints(
  world: World,
  out: { readonly services: readonly Service[]; readonly workloads: readonly Workload[] },
): { services: Service[]; workloads: Workload[] } {
  const { cluster } = world;
  const services = out.services.map((s) => {
    const own = cluster.services.get(s.namespace, s.name);
    const entry = cluster.serviceEntries.get(s.namespace, s.name);
    const facts =
      own && serviceHostname(own, world.settings) === s.hostname
        ? own
        : entry && entryServices(entry).get(s.hostname);
    const sent = facts && sentWith(world, facts);
    return sent ? { ...s, ...sent } : s;
  });
  const workloads = out.workloads.map((w) => {
    const facts = cluster.pods.get(w.namespace, w.name);
    const waypoint = facts && podWaypoint(world, facts);
    return waypoint ? { ...w, waypoint } : w;
  });
  return { services, workloads };
}
