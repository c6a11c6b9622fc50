// What a Gateway's status says: accepted, programmed, where it is found, and each listener (control-plane.md 6.4). Pure;
// no change = `undefined`.
import { hasEndpoint, hbonePort, type World } from './binding.ts';
import { no, settle, type Wanted, yes } from './conditions.ts';
import { generatedName, isManual, isWaypoint } from './deploy-plan.ts';
import { planGateway } from './deploy-plans.ts';
import { attachedTo, gatewayGroup, isIngress, isServed, listenersOf } from './listeners.ts';
import { type ClassSpec, specOfController } from './names.ts';
import type { GatewayFacts, ListenerFacts } from './objects.ts';

const failed = 'Failed to assign to any requested addresses';

interface Address {
  readonly type: string;
  readonly value: string;
}

interface Programmed {
  readonly condition: Wanted;
  /** `undefined` = as they are. */
  readonly addresses: readonly Address[] | undefined;
}

function addresses(world: World, g: GatewayFacts, spec: ClassSpec): Address[] | undefined {
  const name = generatedName(g, spec);
  const service = world.cluster.services.get(g.namespace, name);
  const host = `${name}.${g.namespace}.svc.${world.settings.clusterDomain}`;
  const hostname = { type: 'Hostname', value: host };
  const typed = (value: string): Address => ({
    type: /[a-z]/i.test(value) && !value.includes(':') ? 'Hostname' : 'IPAddress',
    value,
  });
  if (isWaypoint(spec)) {
    const ips = (service?.clusterIps ?? []).map((value) => ({ type: 'IPAddress', value }));
    return [...ips, hostname];
  }
  if (service?.type !== 'LoadBalancer') return [hostname];
  return service.balancer.length > 0 ? service.balancer.map(typed) : undefined;
}

function programmed(world: World, g: GatewayFacts, spec: ClassSpec): Programmed {
  const name = isManual(g) ? (g.addresses[0]?.value ?? '') : generatedName(g, spec);
  const host = isManual(g) ? name : `${name}.${g.namespace}.svc.${world.settings.clusterDomain}`;
  const service = isManual(g) ? undefined : world.cluster.services.get(g.namespace, name);
  const not = (reason: string, why: string): Programmed => ({
    condition: no('Programmed', reason, `${failed}: ${why}`),
    addresses: undefined,
  });
  if (!isManual(g) && !service) return not('AddressNotUsable', `hostname "${host}" not found`);
  if (!hasEndpoint(world.cluster, g, name) && g.status.addresses.length === 0) {
    return not('AddressNotAssigned', `no instances found for hostname "${host}"`);
  }
  const given = isManual(g) ? g.status.addresses : addresses(world, g, spec);
  if (!given) return not('AddressNotAssigned', `address pending for hostname "${host}"`);
  const ports = isWaypoint(spec) ? [hbonePort] : [...new Set(g.listeners.map((l) => l.port))];
  const where = ports.map((p) => `${host}:${p}`).join(' and ');
  const text = `Resource programmed, assigned to service(s) ${where}`;
  return { condition: yes('Programmed', 'Programmed', text), addresses: given };
}

const fine = 'No errors found';

interface ListenerReport {
  readonly facts: ListenerFacts;
  readonly kinds: readonly string[];
  readonly attached: number;
  readonly wanted: readonly Wanted[];
  readonly served: boolean;
}

function waypointListener(l: ListenerFacts): ListenerReport {
  const served = l.port === hbonePort && l.protocol === 'HBONE';
  const text = `Expected a single listener on port ${hbonePort} with protocol "HBONE"`;
  const wanted = [
    served ? yes('Accepted', 'Accepted', fine) : no('Accepted', 'UnsupportedProtocol', text),
    no('Conflicted', 'NoConflicts', fine),
    served ? yes('Programmed', 'Programmed', fine) : no('Programmed', 'Invalid', text),
    yes('ResolvedRefs', 'ResolvedRefs', fine),
  ];
  return { facts: l, kinds: [], attached: 0, wanted, served };
}

function ingressListeners(world: World, g: GatewayFacts): ListenerReport[] {
  const routes = attachedTo(world, g);
  return listenersOf(world, g).map((l) => {
    const { fault } = l;
    const told = (type: string, good: Wanted): Wanted =>
      fault?.type === type
        ? {
            ...good,
            status: type === 'Conflicted' ? 'True' : 'False',
            reason: fault.reason,
            message: fault.message,
          }
        : good;
    const served = isServed(l);
    return {
      facts: l.facts,
      kinds: l.kinds,
      attached: routes.get(l.facts.name)?.length ?? 0,
      wanted: [
        told('Accepted', yes('Accepted', 'Accepted', fine)),
        told('Conflicted', no('Conflicted', 'NoConflicts', fine)),
        served
          ? yes('Programmed', 'Programmed', fine)
          : no('Programmed', 'Invalid', fault?.message ?? ''),
        told('ResolvedRefs', yes('ResolvedRefs', 'ResolvedRefs', fine)),
      ],
      served,
    };
  });
}

function listenerStatus(g: GatewayFacts, r: ListenerReport, now: string) {
  const old = g.status.listeners.find((x) => x.name === r.facts.name);
  const conditions = settle(old?.conditions ?? [], r.wanted, g.generation, now);
  const kinds = r.kinds.map((k) => `${gatewayGroup}/${k}`);
  const same = old?.attachedRoutes === r.attached && old.kinds.join() === kinds.join();
  return {
    changed: conditions !== undefined || !same,
    status: {
      name: r.facts.name,
      attachedRoutes: r.attached,
      supportedKinds: r.kinds.map((kind) => ({ group: gatewayGroup, kind })),
      conditions: conditions ?? old?.conditions ?? [],
    },
  };
}

function accepted(
  reports: readonly ListenerReport[],
  judged: boolean,
  fault: string | undefined,
): Wanted {
  if (fault !== undefined) return no('Accepted', 'InvalidParameters', fault);
  const bad = judged ? reports.filter((r) => !r.served).length : 0;
  if (bad > 0 && bad === reports.length) {
    return no('Accepted', 'ListenersNotValid', "None of the Gateway's listeners are valid");
  }
  return bad > 0
    ? yes('Accepted', 'ListenersNotValid', "One or more of the Gateway's listeners are invalid")
    : yes('Accepted', 'Accepted', 'Resource accepted');
}

/** `refused` = what the API server says against what the Gateway is to be served by: it is served as before, or not at all. */
export function gatewayStatus(
  world: World,
  g: GatewayFacts,
  now: string,
  refused?: string,
): object | undefined {
  const spec = specOfController(world.gateways.controllerOf(g));
  if (!spec) return undefined;
  const planned = planGateway(world.gateways, g, {}, world.settings);
  // Not known yet: it is looked at again.
  if (planned === 'pending') return undefined;
  const ingress = isIngress(world, g);
  const reports = ingress ? ingressListeners(world, g) : g.listeners.map(waypointListener);
  const { condition, addresses: found } = programmed(world, g, spec);
  const served = refused === undefined ? condition : no('Programmed', 'Invalid', refused);
  const wanted = [accepted(reports, ingress, planned?.fault), served];
  const conditions = settle(g.status.conditions, wanted, g.generation, now);
  const listeners = reports.map((r) => listenerStatus(g, r, now));
  const give = found ?? g.status.addresses;
  const changed =
    conditions !== undefined ||
    listeners.some((l) => l.changed) ||
    listeners.length !== g.status.listeners.length ||
    JSON.stringify(give) !== JSON.stringify(g.status.addresses);
  if (!changed) return undefined;
  return {
    addresses: give,
    conditions: conditions ?? g.status.conditions,
    listeners: listeners.map((l) => l.status),
  };
}
