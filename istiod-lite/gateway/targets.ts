// What policies with targetRefs are attached to (control-plane.md 3.7), and which of them hold for a service.
import type { AuthorizationPolicyFacts, ServiceFacts } from '../cluster/index.ts';
import type { RequestAuthenticationFacts } from './authentication.ts';
import type { World } from './binding.ts';
import { meshController } from './names.ts';
import type { PluginFacts } from './plugins.ts';

export type TargetRef = AuthorizationPolicyFacts['targetRefs'][number];

const gatewayGroup = 'gateway.networking.k8s.io';

export const isServiceRef = (t: TargetRef): boolean =>
  (t.group === '' || t.group === 'core') && t.kind === 'Service';
export const isEntryRef = (t: TargetRef): boolean =>
  t.group === 'networking.istio.io' && t.kind === 'ServiceEntry';
export const isGatewayRef = (t: TargetRef): boolean =>
  t.group === gatewayGroup && t.kind === 'Gateway';
export const isClassRef = (t: TargetRef): boolean =>
  t.group === gatewayGroup && t.kind === 'GatewayClass';

export function aims(
  world: World,
  p: { readonly namespace: string },
  t: TargetRef,
  service: ServiceFacts | undefined,
  gateway: string,
): boolean {
  if (isServiceRef(t) || isEntryRef(t)) {
    const kind = isEntryRef(t) === (service?.host !== undefined);
    return kind && service?.name === t.name && service.namespace === p.namespace;
  }
  if (isGatewayRef(t)) return gateway === `${p.namespace}/${t.name}`;
  if (!isClassRef(t) || p.namespace !== world.cluster.rootNamespace) return false;
  const klass = world.gateways.classes.get(`/${t.name}`);
  if (klass?.controllerName !== meshController) return false;
  const actual = world.gateways.gateways.get(gateway);
  // A Gateway that is missing is taken for one of the class: the policy would be skipped.
  return actual === undefined || actual.className === t.name;
}

/** Oldest first, then by name: a stable order. `gateway` is `namespace/name`. */
export function policiesFor(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): AuthorizationPolicyFacts[] {
  const found: AuthorizationPolicyFacts[] = [];
  for (const p of world.cluster.authorizationPolicies.all()) {
    if (p.targetRefs.some((t) => aims(world, p, t, service, gateway))) found.push(p);
  }
  const key = (p: AuthorizationPolicyFacts): string => `${p.namespace}/${p.name}`;
  return found.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** RequestAuthentications that hold for a service or gateway; here because binding asks for them. */
export function authenticationsFor(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): RequestAuthenticationFacts[] {
  const all = [...world.gateways.requestAuthentications.values()];
  return all.filter((p) => p.targetRefs.some((t) => aims(world, p, t, service, gateway)));
}

/** The mesh's own first, then by namespace, each as written. */
export function pluginsFor(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): { readonly namespace: string; readonly plugin: PluginFacts }[] {
  const root = world.cluster.rootNamespace;
  const rank = (s: { readonly namespace: string }): string =>
    s.namespace === root ? '' : s.namespace;
  const within = (namespace: string): boolean =>
    namespace === root || namespace === service?.namespace || gateway.startsWith(`${namespace}/`);
  return [...world.gateways.plugins.values()]
    .toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1))
    .flatMap((set) =>
      set.plugins
        .filter(
          (p) =>
            (p.everywhere === true && within(set.namespace)) ||
            p.targetRefs.some((t) => aims(world, set, t, service, gateway)),
        )
        .map((plugin) => ({ namespace: set.namespace, plugin })),
    );
}

/** Whether going around the waypoint would skip a policy that its author expects to hold. */
export function policiesAtStake(
  world: World,
  s: ServiceFacts | undefined,
  gateway: string,
): boolean {
  if (authenticationsFor(world, s, gateway).length > 0) return true;
  if (pluginsFor(world, s, gateway).some(({ plugin }) => !plugin.failOpen)) return true;
  return policiesFor(world, s, gateway).some(
    (p) => p.annotations.get('istio.io/dry-run') !== 'true' && p.action !== 'AUDIT',
  );
}
