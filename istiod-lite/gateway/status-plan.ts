// What status says of classes, services, policies and routes (control-plane.md 3.8, 6.4, 6.5;
// waypoint-l7.md 3.12). Pure: the status now and the time are arguments; no change = `undefined`.
import type {
  AuthorizationPolicyFacts,
  Condition,
  ServiceEntryFacts,
  ServiceFacts,
} from '../cluster/index.ts';
import { field, list, readConditions, text } from '../cluster/index.ts';
import { unknownKeys } from './access.ts';
import { attachedRoutes, isEntryParent, isForeign, isServiceParent } from './attach.ts';
import { addressOf, bindService, type World } from './binding.ts';
import { canaryOf } from './canary.ts';
import { no, settle, type Wanted, yes } from './conditions.ts';
import { entryServices } from './entry-services.ts';
import { waypointLabel } from './gateway-state.ts';
import { attach, isGatewayParent, isIngress } from './listeners.ts';
import { gatewayController, meshController, specOfController } from './names.ts';
import type { ClassFacts, GatewayFacts, ParentRef, RouteFacts } from './objects.ts';
import { readRule, type RuleNotes } from './route-rules.ts';
import { providerFault } from './security.ts';
import { isClassRef, isEntryRef, isGatewayRef, isServiceRef, type TargetRef } from './targets.ts';

export function classStatus(c: ClassFacts, now: string): object | undefined {
  if (!specOfController(c.controllerName)) return undefined;
  const wanted = [yes('Accepted', 'Accepted', 'Handled by Istio controller')];
  const conditions = settle(c.conditions, wanted, c.generation, now);
  return conditions && { conditions };
}

/** WaypointBound of a service or of an entry seen as one; the rest is kept. */
function boundStatus(
  world: World,
  s: ServiceFacts,
  old: readonly Condition[],
  now: string,
): object | undefined {
  const type = 'istio.io/WaypointBound';
  const binding = bindService(world, s);
  const canary = canaryOf(world, s, binding);
  const wanted: Wanted[] = [];
  if (binding.kind === 'unbound') wanted.push(no(type, binding.reason, binding.message));
  else if (binding.kind === 'bound') {
    const where = `${binding.gateway.namespace}/${binding.gateway.name}`;
    const text = `Successfully attached to waypoint ${where}`;
    const problem = canary?.problem;
    const message = problem === undefined ? text : `${text}; ${problem}`;
    wanted.push(yes(type, 'WaypointAccepted', message));
  }
  const conditions = settle(old, wanted, s.generation, now, wanted.length > 0 ? [] : [type]);
  return conditions && { conditions };
}

export function serviceStatus(world: World, s: ServiceFacts, now: string): object | undefined {
  const old = world.gateways.serviceConditions.get(`${s.namespace}/${s.name}`) ?? [];
  return boundStatus(world, s, old, now);
}

export function entryStatus(world: World, e: ServiceEntryFacts, now: string): object | undefined {
  const [first] = entryServices(e).values();
  return first && boundStatus(world, first, e.conditions, now);
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

function serviceNamed(
  world: World,
  entry: boolean,
  namespace: string,
  name: string,
): ServiceFacts | undefined {
  if (!entry) return world.cluster.services.get(namespace, name);
  const found = world.cluster.serviceEntries.get(namespace, name);
  return found && [...entryServices(found).values()][0];
}

function targetStatus(world: World, p: Aimed, t: TargetRef): Attached {
  if (isServiceRef(t) || isEntryRef(t)) {
    const service = serviceNamed(world, isEntryRef(t), p.namespace, t.name);
    const shown = `${p.namespace}/${t.name}`;
    if (!service) return refused('TargetNotFound', `${t.kind} ${shown} was not found`);
    const binding = bindService(world, service);
    if (binding.kind === 'bound')
      return good(`${binding.gateway.namespace}/${binding.gateway.name}`);
    return refused('AncestorNotBound', `${t.kind} ${shown} is not bound to a waypoint`);
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
    const verb = p.action === 'AUDIT' ? 'match' : 'refuse';
    const effect =
      p.action === 'ALLOW' ? 'its rules allow nothing' : `its rules ${verb} on the rest`;
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
  const service = serviceNamed(world, isEntryParent(p), namespace, p.name);
  const [first] = notes;
  const refs = first
    ? no('ResolvedRefs', first.reason, first.message)
    : yes('ResolvedRefs', 'ResolvedRefs', 'All references resolved');
  const waypoints = yes('ResolvedWaypoints', 'ResolvedWaypoints', waypointsMessage(world, service));
  if (!service) {
    const kind = isEntryParent(p) ? 'service entry' : 'service';
    const text = `parent ${kind}: "${p.name}" not found`;
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
  if (isForeign(route, service)) {
    const text = `a ${route.kind} holds for services of its own namespace alone`;
    return [no('Accepted', 'UnsupportedValue', text), refs, waypoints];
  }
  const beaten = ports.every((x) => attachedRoutes(world, service, x)?.kind !== route.kind);
  if (beaten) {
    const text = `another kind of route holds for service "${p.name}"`;
    return [no('Accepted', 'Conflicted', text), refs, waypoints];
  }
  return [yes('Accepted', 'Accepted', 'Route was valid'), refs, waypoints];
}

/** The Gateway of class istio that a parentRef means. */
function ingressOf(world: World, route: RouteFacts, p: ParentRef): GatewayFacts | undefined {
  if (!isGatewayParent(p)) return undefined;
  const g = world.gateways.gateways.get(`${p.namespace || route.namespace}/${p.name}`);
  return g && isIngress(world, g) ? g : undefined;
}

function gatewayConditions(
  world: World,
  route: RouteFacts,
  p: ParentRef,
  g: GatewayFacts,
): Wanted[] {
  const found = attach(world, g, route, p);
  const [first] = notesOf({ ...world, grantsNeeded: true }, route);
  return [
    'attached' in found
      ? yes('Accepted', 'Accepted', 'Route was valid')
      : no('Accepted', found.reason, found.message),
    first
      ? no('ResolvedRefs', first.reason, first.message)
      : yes('ResolvedRefs', 'ResolvedRefs', 'All references resolved'),
  ];
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
  const parents = route.parents.flatMap((p) => {
    const g = ingressOf(world, route, p);
    if (g) return [{ p, wanted: gatewayConditions(world, route, p, g) }];
    return isServiceParent(p) || isEntryParent(p)
      ? [{ p, wanted: parentConditions(world, route, p, notes) }]
      : [];
  });
  const entries = parents.map(({ p, wanted }) => {
    const old = mine.find((e) => keyOf(field(e, 'parentRef')) === keyOf(p.raw));
    const before = readConditions({ metadata: { name: '' }, status: old });
    const conditions = settle(before, wanted, route.generation, now);
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
