// What status says of Gateways, classes, services, policies and routes (control-plane.md 3.8, 6.4, 6.5;
// waypoint-l7.md 3.12). Pure: the status now and the time are arguments; no change = `undefined`.
import type { AuthorizationPolicyFacts, Condition, ServiceFacts } from '../cluster/index.ts';
import { field, list, readConditions, text } from '../cluster/index.ts';
import { unknownKeys } from './access.ts';
import { attachedRoutes, isServiceParent } from './attach.ts';
import { addressOf, bindService, hasEndpoint, hbonePort, type World } from './binding.ts';
import { generatedName, isManual, isWaypoint } from './deploy-plan.ts';
import { waypointLabel } from './gateway-state.ts';
import { type ClassSpec, gatewayController, meshController, specOfController } from './names.ts';
import type { ClassFacts, GatewayFacts, ListenerFacts, ParentRef, RouteFacts } from './objects.ts';
import { readRule, type RuleNotes } from './route-rules.ts';
import { providerFault } from './security.ts';
import { isClassRef, isGatewayRef, isServiceRef, type TargetRef } from './targets.ts';

export interface Wanted {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

const yes = (type: string, reason: string, message: string): Wanted => ({
  type,
  status: 'True',
  reason,
  message,
});
const no = (type: string, reason: string, message: string): Wanted => ({
  type,
  status: 'False',
  reason,
  message,
});

const same = (old: Condition, w: Wanted, generation: number): boolean =>
  old.status === w.status &&
  old.reason === w.reason &&
  old.message === w.message &&
  old.observedGeneration === generation;

/** The whole list: ours replaced, those of others kept. `undefined` = as it is. */
export function settle(
  old: readonly Condition[],
  wanted: readonly Wanted[],
  generation: number,
  now: string,
  dropped: readonly string[] = [],
): Condition[] | undefined {
  const made = wanted.map((w): Condition => {
    const before = old.find((c) => c.type === w.type);
    const kept = before?.status === w.status ? before.lastTransitionTime : now;
    return { ...w, observedGeneration: generation, lastTransitionTime: kept };
  });
  const others = old.filter(
    (c) => !made.some((m) => m.type === c.type) && !dropped.includes(c.type),
  );
  const unchanged =
    others.length + made.length === old.length &&
    wanted.every((w) => old.some((c) => c.type === w.type && same(c, w, generation)));
  return unchanged ? undefined : [...others, ...made];
}

export function classStatus(c: ClassFacts, now: string): object | undefined {
  if (!specOfController(c.controllerName)) return undefined;
  const wanted = [yes('Accepted', 'Accepted', 'Handled by Istio controller')];
  const conditions = settle(c.conditions, wanted, c.generation, now);
  return conditions && { conditions };
}

export function serviceStatus(world: World, s: ServiceFacts, now: string): object | undefined {
  const old = world.gateways.serviceConditions.get(`${s.namespace}/${s.name}`) ?? [];
  const type = 'istio.io/WaypointBound';
  const binding = bindService(world, s);
  const wanted =
    binding.kind === 'none'
      ? []
      : binding.kind === 'unbound'
        ? [no(type, binding.reason, binding.message)]
        : [
            yes(
              type,
              'WaypointAccepted',
              `Successfully attached to waypoint ${binding.gateway.namespace}/${binding.gateway.name}`,
            ),
          ];
  const conditions = settle(old, wanted, s.generation, now, wanted.length > 0 ? [] : [type]);
  return conditions && { conditions };
}

// --- Gateways

function programmed(world: World, g: GatewayFacts, spec: ClassSpec): { ok: boolean; w: Wanted } {
  const name = isManual(g) ? (g.addresses[0]?.value ?? '') : generatedName(g, spec);
  const host = isManual(g) ? name : `${name}.${g.namespace}.svc.${world.settings.clusterDomain}`;
  const service = isManual(g) ? undefined : world.cluster.services.get(g.namespace, name);
  const failed = 'Failed to assign to any requested addresses';
  if (!isManual(g) && !service) {
    return {
      ok: false,
      w: no('Programmed', 'AddressNotUsable', `${failed}: hostname "${host}" not found`),
    };
  }
  const port = isWaypoint(spec) ? hbonePort : (g.listeners[0]?.port ?? 80);
  if (hasEndpoint(world.cluster, g, name) || g.status.addresses.length > 0) {
    const text = `Resource programmed, assigned to service(s) ${host}:${port}`;
    return { ok: true, w: yes('Programmed', 'Programmed', text) };
  }
  const why = `no instances found for hostname "${host}"`;
  return { ok: false, w: no('Programmed', 'AddressNotAssigned', `${failed}: ${why}`) };
}

function addresses(
  world: World,
  g: GatewayFacts,
  spec: ClassSpec,
): { type: string; value: string }[] {
  const name = generatedName(g, spec);
  const service = world.cluster.services.get(g.namespace, name);
  const host = `${name}.${g.namespace}.svc.${world.settings.clusterDomain}`;
  const hostname = { type: 'Hostname', value: host };
  if (!isWaypoint(spec)) return [hostname];
  const ips = (service?.clusterIps ?? []).map((value) => ({ type: 'IPAddress', value }));
  return [...ips, hostname];
}

function listenerFault(spec: ClassSpec, l: ListenerFacts): string | undefined {
  if (!isWaypoint(spec)) {
    return l.protocol === 'HBONE'
      ? 'protocol "HBONE" is only supported for waypoint proxies'
      : undefined;
  }
  return l.port === hbonePort && l.protocol === 'HBONE'
    ? undefined
    : `Expected a single listener on port ${hbonePort} with protocol "HBONE"`;
}

const routeKinds: Readonly<Record<string, readonly string[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TCP: ['TCPRoute'],
  TLS: ['TLSRoute'],
};

const fine = 'No errors found';

function attachedCount(world: World, g: GatewayFacts): number {
  return [...world.gateways.routes.values()].filter((r) =>
    r.parents.some(
      (p) =>
        p.kind === 'Gateway' && p.name === g.name && (p.namespace || r.namespace) === g.namespace,
    ),
  ).length;
}

function listenerStatus(
  world: World,
  g: GatewayFacts,
  spec: ClassSpec,
  now: string,
  changed: () => void,
) {
  return g.listeners.map((l) => {
    const fault = listenerFault(spec, l);
    const old = g.status.listeners.find((x) => x.name === l.name)?.conditions ?? [];
    const wanted = [
      fault === undefined
        ? yes('Accepted', 'Accepted', fine)
        : no('Accepted', 'UnsupportedProtocol', fault),
      no('Conflicted', 'NoConflicts', fine),
      fault === undefined
        ? yes('Programmed', 'Programmed', fine)
        : no('Programmed', 'Invalid', fault),
      yes('ResolvedRefs', 'ResolvedRefs', fine),
    ];
    const conditions = settle(old, wanted, g.generation, now);
    if (conditions) changed();
    return {
      name: l.name,
      attachedRoutes: attachedCount(world, g),
      supportedKinds: (routeKinds[l.protocol] ?? []).map((kind) => ({
        group: 'gateway.networking.k8s.io',
        kind,
      })),
      conditions: conditions ?? old,
    };
  });
}

function parametersFault(g: GatewayFacts): string | undefined {
  const p = g.parametersRef;
  if (!p || ((p.group === '' || p.group === 'core') && p.kind === 'ConfigMap')) return undefined;
  return `Unsupported parametersRef group/kind ${p.group}/${p.kind}, only ConfigMap is supported`;
}

export function gatewayStatus(world: World, g: GatewayFacts, now: string): object | undefined {
  const spec = specOfController(world.gateways.controllerOf(g));
  if (!spec) return undefined;
  let differs = false;
  const changed = (): void => {
    differs = true;
  };
  const fault = parametersFault(g);
  const { ok, w } = programmed(world, g, spec);
  const wanted = [
    fault === undefined
      ? yes('Accepted', 'Accepted', 'Resource accepted')
      : no('Accepted', 'InvalidParameters', fault),
    w,
  ];
  const conditions = settle(g.status.conditions, wanted, g.generation, now);
  const listeners = listenerStatus(world, g, spec, now, changed);
  const give = ok && !isManual(g) ? addresses(world, g, spec) : g.status.addresses;
  if (JSON.stringify(give) !== JSON.stringify(g.status.addresses)) changed();
  if (!conditions && !differs && listeners.length === g.status.listeners.length) return undefined;
  return { addresses: give, conditions: conditions ?? g.status.conditions, listeners };
}

// --- policies

type Attached = { readonly ok: Wanted } | { readonly bad: Wanted };
const accepted = 'WaypointAccepted';
const good = (where: string): Attached => ({
  ok: yes(accepted, 'Accepted', `bound to ${where}`),
});
const refused = (reason: string, message: string): Attached => ({
  bad: no(accepted, reason, message),
});

interface Aimed {
  readonly namespace: string;
  readonly targetRefs: readonly TargetRef[];
}

function targetStatus(world: World, p: Aimed, t: TargetRef): Attached {
  if (isServiceRef(t)) {
    const service = world.cluster.services.get(p.namespace, t.name);
    const shown = `${p.namespace}/${t.name}`;
    if (!service) return refused('TargetNotFound', `Service ${shown} was not found`);
    const binding = bindService(world, service);
    if (binding.kind === 'bound')
      return good(`${binding.gateway.namespace}/${binding.gateway.name}`);
    return refused('AncestorNotBound', `Service ${shown} is not bound to a waypoint`);
  }
  if (isGatewayRef(t)) {
    const gateway = world.gateways.gateways.get(`${p.namespace}/${t.name}`);
    if (!gateway || !addressOf(gateway, world.settings.network))
      return refused('TargetNotFound', 'not bound');
    return good(`${gateway.namespace}/${gateway.name}`);
  }
  if (isClassRef(t)) {
    if (p.namespace !== world.cluster.rootNamespace) {
      return refused('Invalid', 'a GatewayClass may only be targeted from the root namespace');
    }
    const klass = world.gateways.classes.get(`/${t.name}`);
    if (!klass) return refused('TargetNotFound', 'not bound');
    return klass.controllerName === meshController
      ? good(t.name)
      : refused('Invalid', `GatewayClass ${t.name} is not a waypoint class`);
  }
  return refused('TargetNotFound', `${t.kind} ${p.namespace}/${t.name} was not found`);
}

/** Where a policy holds, over all its targets. */
export function attachment(world: World, p: Aimed): Wanted {
  const all = p.targetRefs.map((t) => ({ t, s: targetStatus(world, p, t) }));
  const [first] = all;
  if (first && all.length === 1) return 'ok' in first.s ? first.s.ok : first.s.bad;
  const bad = all.filter((x) => 'bad' in x.s);
  if (bad.length === 0) return yes(accepted, 'Accepted', '');
  const names = bad.map(({ t }) => `${t.kind}.${t.group || 'core'}:${p.namespace}/${t.name}`);
  const text = `Invalid targetRefs: ${names.join(', ')}`;
  return bad.length < all.length
    ? yes(accepted, 'PartiallyInvalid', text)
    : no(accepted, 'Invalid', text);
}

export function policyStatus(
  world: World,
  p: AuthorizationPolicyFacts,
  now: string,
): object | undefined {
  if (p.targetRefs.length === 0) return undefined;
  const unknown = unknownKeys(p);
  let wanted = attachment(world, p);
  const nobody = p.action === 'CUSTOM' ? providerFault(world, p.provider) : undefined;
  if (nobody !== undefined && wanted.status === 'True')
    wanted = yes(accepted, 'PartiallyInvalid', `${nobody}: what it matches is refused`);
  if (unknown.length > 0 && wanted.status === 'True') {
    const effect =
      p.action === 'ALLOW' ? 'its rules allow nothing' : 'its rules refuse on the rest';
    wanted = yes(accepted, 'UnsupportedValue', `cannot judge ${unknown.join(', ')}: ${effect}`);
  }
  const conditions = settle(p.conditions, [wanted], p.generation, now);
  return conditions && { conditions };
}

// --- routes

function waypointsMessage(world: World, s: ServiceFacts | undefined): string {
  if (!s) return 'parent not found';
  const namespace = world.cluster.namespaces.get('', s.namespace);
  const name = s.labels.get(waypointLabel) ?? namespace?.labels.get(waypointLabel);
  if (name !== undefined && name.toLowerCase() !== 'none') return 'All waypoints resolved';
  return 'istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, route will not be respected';
}

function parentConditions(
  world: World,
  route: RouteFacts,
  p: ParentRef,
  notes: RuleNotes,
): Wanted[] {
  const namespace = p.namespace || route.namespace;
  const service = world.cluster.services.get(namespace, p.name);
  const [first] = notes;
  const refs = first
    ? no('ResolvedRefs', first.reason, first.message)
    : yes('ResolvedRefs', 'ResolvedRefs', 'All references resolved');
  const waypoints = yes('ResolvedWaypoints', 'ResolvedWaypoints', waypointsMessage(world, service));
  if (!service) {
    const text = `parent service: "${p.name}" not found`;
    return [no('Accepted', 'NoMatchingParent', text), refs, waypoints];
  }
  const ports = service.ports.filter(
    (x) =>
      (p.port === 0 || x.port === p.port) && (p.sectionName === '' || x.name === p.sectionName),
  );
  if (ports.length === 0) {
    const text = `port ${p.port || p.sectionName} not found on service "${p.name}"`;
    return [no('Accepted', 'NoMatchingParent', text), refs, waypoints];
  }
  const beaten = ports.every((x) => attachedRoutes(world, service, x)?.kind !== route.kind);
  if (beaten) {
    const text = `another kind of route holds for service "${p.name}"`;
    return [no('Accepted', 'Conflicted', text), refs, waypoints];
  }
  return [yes('Accepted', 'Accepted', 'Route was valid'), refs, waypoints];
}

function notesOf(world: World, route: RouteFacts): RuleNotes {
  const notes: RuleNotes = [];
  for (const [i, rule] of route.rules.entries()) readRule(world, route, rule, i, notes);
  return notes;
}

/** Entries of other controllers are kept; ours for parents that are gone are removed. */
export function routeStatus(world: World, route: RouteFacts, now: string): object | undefined {
  const notes = notesOf(world, route);
  let changed = false;
  const keyOf = (ref: unknown): string =>
    ['group', 'kind', 'namespace', 'name', 'port', 'sectionName']
      .map((k) => JSON.stringify(field(ref, k) ?? null))
      .join();
  const isMine = (e: unknown): boolean => text(field(e, 'controllerName')) === gatewayController;
  const mine = route.statusParents.filter(isMine);
  const entries = route.parents.filter(isServiceParent).map((p) => {
    const old = mine.find((e) => keyOf(field(e, 'parentRef')) === keyOf(p.raw));
    const before = readConditions({ metadata: { name: '' }, status: old });
    const conditions = settle(
      before,
      parentConditions(world, route, p, notes),
      route.generation,
      now,
    );
    if (conditions || old === undefined) changed = true;
    return {
      parentRef: p.raw,
      controllerName: gatewayController,
      conditions: conditions ?? list(field(old, 'conditions')),
    };
  });
  if (!changed && entries.length === mine.length) return undefined;
  return { parents: [...route.statusParents.filter((e) => !isMine(e)), ...entries] };
}
