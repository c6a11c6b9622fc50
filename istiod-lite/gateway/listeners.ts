// The listeners of an ingress gateway: which can be served, with what, and which routes are attached to which of them
// (Gateway API; control-plane.md 6.4, 6.6).
import { intersectHosts } from '../../core/model/index.ts';
import { selects } from '../translate/index.ts';
import type { World } from './binding.ts';
import { certificateFault } from './certificate.ts';
import { permits } from './grants.ts';
import { gatewayController } from './names.ts';
import type {
  GatewayFacts,
  ListenerFacts,
  ObjectRef,
  ParentRef,
  RouteFacts,
  RouteKind,
  SecretFacts,
} from './objects.ts';

export const gatewayGroup = 'gateway.networking.k8s.io';

export interface ListenerFault {
  /** The condition that tells of it. */
  readonly type: 'Accepted' | 'ResolvedRefs' | 'Conflicted';
  readonly reason: string;
  readonly message: string;
  /** Served all the same. */
  readonly harmless?: boolean;
}

export interface Listener {
  readonly facts: ListenerFacts;
  /** What may be attached. */
  readonly kinds: readonly RouteKind[];
  readonly fault: ListenerFault | undefined;
  /** Of HTTPS, and of TLS that is ended here; those that can be shown. */
  readonly secrets: readonly SecretFacts[];
}

const kindsOf: Readonly<Record<string, readonly RouteKind[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TCP: ['TCPRoute'],
  TLS: ['TLSRoute'],
};

/** Where TLS is ended, a route by connection need not know the server name. */
const carriedBy = (l: ListenerFacts): readonly RouteKind[] =>
  l.protocol === 'TLS' && endsTls(l) ? ['TLSRoute', 'TCPRoute'] : (kindsOf[l.protocol] ?? []);

/** Ports of the gateway's own. */
const ownPorts = new Set([15000, 15008, 15020, 15021]);

/** Where the pod listens: ports that need privileges are moved out of their range. */
export const bindPort = (port: number): number => (port < 1024 ? port + 10_000 : port);

export const isIngress = (world: World, g: GatewayFacts): boolean =>
  world.gateways.controllerOf(g) === gatewayController;

const fault = (
  type: ListenerFault['type'],
  reason: string,
  message: string,
  harmless = false,
): ListenerFault => ({ type, reason, message, harmless });

const badRef = (message: string): ListenerFault =>
  fault('ResolvedRefs', 'InvalidCertificateRef', message);

function certificate(world: World, g: GatewayFacts, ref: ObjectRef): SecretFacts | ListenerFault {
  if ((ref.group !== '' && ref.group !== 'core') || ref.kind !== 'Secret') {
    return badRef(`certificateRef ${ref.group}/${ref.kind} is not supported, only Secret is`);
  }
  const to = { ...ref, group: '', namespace: ref.namespace || g.namespace };
  const shown = `${to.namespace}/${to.name}`;
  if (!permits(world, { group: gatewayGroup, kind: 'Gateway', namespace: g.namespace }, to)) {
    const text = `no ReferenceGrant in namespace ${to.namespace} permits Secret ${shown}`;
    return fault('ResolvedRefs', 'RefNotPermitted', text);
  }
  const secret = world.gateways.secrets.get(`${to.namespace}/${to.name}`);
  if (!secret) return badRef(`Secret ${shown} of type kubernetes.io/tls not found`);
  const wrong = certificateFault(secret);
  return wrong === undefined ? secret : badRef(`Secret ${shown}: ${wrong}`);
}

interface Certificates {
  readonly secrets: readonly SecretFacts[];
  /** By the first of those that cannot be shown, with what is said of each; harmless where there are others. */
  readonly fault?: ListenerFault;
}

function certificates(world: World, g: GatewayFacts, l: ListenerFacts): Certificates {
  if (!endsTls(l)) return { secrets: [] };
  const refs = l.tls?.certificates ?? [];
  if (refs.length === 0) return { secrets: [], fault: badRef('certificateRefs are missing') };
  const secrets: SecretFacts[] = [];
  const faults: ListenerFault[] = [];
  for (const ref of refs) {
    const found = certificate(world, g, ref);
    if ('type' in found) faults.push(found);
    else secrets.push(found);
  }
  const [first] = faults;
  if (!first) return { secrets };
  const message = faults.map((f) => f.message).join('; ');
  return { secrets, fault: { ...first, message, harmless: secrets.length > 0 } };
}

const endsTls = (l: ListenerFacts): boolean =>
  l.protocol === 'HTTPS' || (l.protocol === 'TLS' && l.tls?.mode === 'Terminate');

function tlsFault(l: ListenerFacts): ListenerFault | undefined {
  const modes = { HTTPS: ['Terminate'], TLS: ['Terminate', 'Passthrough'] }[l.protocol];
  if (modes === undefined) return undefined;
  if (!l.tls || !modes.includes(l.tls.mode)) {
    const text = `a listener of protocol ${l.protocol} needs tls.mode ${modes.join(' or ')}`;
    return fault('Accepted', 'UnsupportedValue', text);
  }
  // What is asked for and not done would be believed to be done.
  const [more] = l.tls.more;
  return more === undefined
    ? undefined
    : fault('Accepted', 'UnsupportedValue', `tls.${more} is not supported`);
}

function judge(
  world: World,
  g: GatewayFacts,
  l: ListenerFacts,
  before: readonly ListenerFacts[],
): Listener {
  const carried = carriedBy(l);
  const kinds = carried.filter(
    (k) => l.kinds.length === 0 || l.kinds.includes(`${gatewayGroup}/${k}`),
  );
  const refuse = (f: ListenerFault): Listener => ({ facts: l, kinds, fault: f, secrets: [] });
  if (carried.length === 0) {
    const text =
      l.protocol === 'HBONE'
        ? 'protocol "HBONE" is only supported for waypoint proxies'
        : `protocol "${l.protocol}" is not supported`;
    return refuse(fault('Accepted', 'UnsupportedProtocol', text));
  }
  if (ownPorts.has(bindPort(l.port))) {
    return refuse(fault('Accepted', 'PortUnavailable', `port ${l.port} is the gateway's own`));
  }
  const beside = before.filter((b) => bindPort(b.port) === bindPort(l.port));
  if (beside.some((b) => b.protocol !== l.protocol || b.port !== l.port)) {
    const text = `another listener has port ${l.port} for another protocol`;
    return refuse(fault('Conflicted', 'ProtocolConflict', text));
  }
  if (beside.some((b) => b.hostname === l.hostname)) {
    const text = `another listener has port ${l.port} for the same hostname`;
    return refuse(fault('Conflicted', 'HostnameConflict', text));
  }
  const wrong = tlsFault(l);
  if (wrong) return refuse(wrong);
  const found = certificates(world, g, l);
  if (found.fault && !found.fault.harmless) return refuse(found.fault);
  const unknown = l.kinds.find((k) => !carried.some((c) => k === `${gatewayGroup}/${c}`));
  const odd =
    unknown === undefined
      ? undefined
      : fault('ResolvedRefs', 'InvalidRouteKinds', `${unknown} is not supported here`, true);
  return { facts: l, kinds, fault: odd ?? found.fault, secrets: found.secrets };
}

/** Of conflicting listeners the first is served. */
export function listenersOf(world: World, g: GatewayFacts): Listener[] {
  const out: Listener[] = [];
  for (const l of g.listeners) {
    const before = out.filter((o) => o.fault?.type !== 'Conflicted').map((o) => o.facts);
    out.push(judge(world, g, l, before));
  }
  return out;
}

export const isServed = (l: Listener): boolean => !l.fault || l.fault.harmless === true;

// --- routes

export interface Attachment {
  readonly listener: Listener;
  /** Patterns that the listener and the route have in common; of TCP one empty one. */
  readonly hosts: readonly string[];
}

export type AttachResult =
  | { readonly attached: readonly Attachment[] }
  | { readonly reason: string; readonly message: string };

export const isGatewayParent = (p: ParentRef): boolean =>
  p.group === gatewayGroup && p.kind === 'Gateway';

function allows(world: World, g: GatewayFacts, l: ListenerFacts, route: RouteFacts): boolean {
  const home = world.cluster.namespaces.get('', route.namespace);
  switch (l.from) {
    case 'All':
      return true;
    case 'Selector':
      return home !== undefined && selects(l.selector, home.labels);
    case 'Same':
      return route.namespace === g.namespace;
    default:
      return false;
  }
}

function hostsOf(l: ListenerFacts, route: RouteFacts): string[] {
  if (route.kind === 'TCPRoute') return [''];
  if (route.hostnames.length === 0) return [l.hostname];
  return route.hostnames.map((h) => intersectHosts(l.hostname, h)).filter((h) => h !== undefined);
}

/** Where one parentRef of a route ends up on its Gateway. */
export function attach(
  world: World,
  g: GatewayFacts,
  route: RouteFacts,
  p: ParentRef,
): AttachResult {
  const named = listenersOf(world, g).filter(
    ({ facts: l }) =>
      (p.sectionName === '' || l.name === p.sectionName) && (p.port === 0 || l.port === p.port),
  );
  if (named.length === 0) {
    const what = p.sectionName === '' ? `port ${p.port}` : `"${p.sectionName}"`;
    return { reason: 'NoMatchingParent', message: `no listener ${what} on gateway "${p.name}"` };
  }
  const open = named.filter(
    (l) => l.kinds.includes(route.kind) && allows(world, g, l.facts, route),
  );
  if (open.length === 0) {
    const message = `no listener of gateway "${p.name}" allows ${route.kind}s of namespace ${route.namespace}`;
    return { reason: 'NotAllowedByListeners', message };
  }
  const attached = open
    .map((listener) => ({ listener, hosts: hostsOf(listener.facts, route) }))
    .filter((a) => a.hosts.length > 0);
  if (attached.length > 0) return { attached };
  const message = `no listener of gateway "${p.name}" has a hostname in common with the route`;
  return { reason: 'NoMatchingListenerHostname', message };
}

export interface AttachedRoute {
  readonly route: RouteFacts;
  readonly hosts: readonly string[];
}

/** By listener name, each route once. */
export function attachedTo(world: World, g: GatewayFacts): Map<string, AttachedRoute[]> {
  const out = new Map<string, AttachedRoute[]>();
  for (const route of world.gateways.routes.values()) {
    const hosts = new Map<string, Set<string>>();
    for (const p of route.parents) {
      const aims =
        isGatewayParent(p) && p.name === g.name && (p.namespace || route.namespace) === g.namespace;
      const found = aims ? attach(world, g, route, p) : undefined;
      if (!found || !('attached' in found)) continue;
      for (const a of found.attached) {
        const { name } = a.listener.facts;
        const all = hosts.get(name) ?? new Set<string>();
        for (const h of a.hosts) all.add(h);
        hosts.set(name, all);
      }
    }
    for (const [name, all] of hosts) {
      out.set(name, [...(out.get(name) ?? []), { route, hosts: [...all] }]);
    }
  }
  return out;
}
