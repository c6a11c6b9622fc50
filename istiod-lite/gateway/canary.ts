// A second waypoint that takes a share of the connections (control-plane.md 1, 2.7 "Weighted waypoints"). One that
// cannot be used leaves everything to the first, and the condition's message says why.
import type { GatewayAddress, WeightedWaypoint } from '../../core/model/index.ts';
import type { ServiceFacts } from '../cluster/index.ts';
import { type Binding, bindTo, type World } from './binding.ts';
import { waypointLabel } from './gateway-state.ts';
import type { GatewayFacts } from './objects.ts';

const canaryLabel = 'istio.io/use-waypoint-canary';
const canaryNamespaceLabel = 'istio.io/use-waypoint-canary-namespace';
const weightAnnotation = 'istio.io/use-waypoint-canary-weight';

export type Canary =
  /** Its pods are told, whatever the weight; `address` is absent until it can be used. */
  | {
      readonly gateway: GatewayFacts;
      readonly address: GatewayAddress | undefined;
      readonly weight: number;
      readonly problem: string | undefined;
    }
  | { readonly gateway: undefined; readonly problem: string };

function weightOf(text: string | undefined): number | undefined {
  if (text === undefined) return 0;
  const n = /^\d{1,3}$/.test(text) ? Number(text) : -1;
  return n >= 0 && n <= 100 ? n : undefined;
}

/** `undefined` = nobody asks for one. `primary` is what the service is bound to. */
export function canaryOf(world: World, s: ServiceFacts, primary: Binding): Canary | undefined {
  if (primary.kind !== 'bound') return undefined;
  const namespace = world.cluster.namespaces.get('', s.namespace);
  // What the namespace says counts only where the service has no waypoint of its own.
  const above = s.labels.has(waypointLabel) ? undefined : namespace;
  const source = s.labels.has(canaryLabel) ? s : above;
  const name = source?.labels.get(canaryLabel) ?? '';
  if (name === '' || name === 'none') return undefined;
  const home = source?.labels.get(canaryNamespaceLabel) || s.namespace;
  const shown = `${home}/${name}`;
  const text = s.annotations.get(weightAnnotation) ?? above?.annotations.get(weightAnnotation);
  const weight = weightOf(text);
  const off = (why: string): string => `canary waypoint "${shown}" is not used: ${why}`;
  if (`${primary.gateway.namespace}/${primary.gateway.name}` === shown) {
    return { gateway: undefined, problem: off('it is the waypoint itself') };
  }
  const found = bindTo(world, { namespace: home, name }, s.namespace, 'service');
  const { gateway } = found.kind === 'none' ? {} : found;
  if (!gateway) {
    return { gateway, problem: off(found.kind === 'unbound' ? found.message : 'not for services') };
  }
  if (weight === undefined) {
    const problem = off(`${weightAnnotation} must be 0 to 100, is ${JSON.stringify(text)}`);
    return { gateway, address: undefined, weight: 0, problem };
  }
  return found.kind === 'bound'
    ? { gateway, address: found.address, weight, problem: undefined }
    : { gateway, address: undefined, weight, problem: off('it is not ready') };
}

/** Empty = everything goes to the first. */
export function weighted(primary: Binding, canary: Canary | undefined): WeightedWaypoint[] {
  if (primary.kind !== 'bound' || !canary?.gateway || !canary.address) return [];
  const { weight, address } = canary;
  if (weight === 0) return [];
  return [
    { destination: primary.address, weight: 100 - weight },
    { destination: address, weight },
  ];
}
