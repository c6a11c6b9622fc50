// Waypoints: labels that name one that is there, may be used and is for such traffic; waypoints nobody uses.
// Pure; the decision is the control plane's own (control-plane.md 2.7).
import type { KubeObject } from '../../core/kube/index.ts';
import { dict, field, text } from '../../istiod-lite/index.ts';
import { namespaceOf, type Say, type Snapshot } from './snapshot.ts';

const label = 'istio.io/use-waypoint';
const reserved = 'none';

export function checkWaypoints(s: Snapshot, say: Say): void {
  const used = new Set<string>();
  const look = (o: KubeObject, traffic: 'service' | 'workload'): void => {
    if (traffic === 'service') checkCanary(s, o, used, say);
    const own = o.metadata.labels?.[label];
    const b = s.binding(o, traffic);
    if (b.kind === 'bound') used.add(`${b.gateway.namespace}/${b.gateway.name}`);
    if (b.kind !== 'unbound') return;
    const name = `${b.wanted.namespace}/${b.wanted.name}`;
    used.add(name);
    // What a namespace asks for is said once, on the namespace.
    if (own === undefined && b.gateway === undefined && b.reason === 'WaypointIsNotReady') return;
    const path = ['metadata', 'labels', label];
    if (b.reason === 'AttachmentDenied') say('AMB0103', o, path, b.message);
    else if (b.reason === 'UnsupportedTrafficType')
      say('AMB0104', o, path, `waypoint ${name}: ${b.message}`);
    else if (!b.gateway) say('AMB0101', o, path, `waypoint ${name} does not exist`);
  };
  for (const o of s.of('Service')) look(o, 'service');
  for (const o of s.of('ServiceEntry')) look(o, 'service');
  for (const o of s.of('Pod')) {
    if (o.metadata.labels?.['gateway.istio.io/managed'] === undefined) look(o, 'workload');
  }
  for (const o of s.of('WorkloadEntry')) look(o, 'workload');
  for (const o of s.of('Namespace')) {
    checkNamespace(s, o, used, say);
    checkCanary(s, o, used, say);
  }
  for (const o of s.of('Gateway')) checkGateway(s, o, used, say);
}

function checkNamespace(s: Snapshot, o: KubeObject, used: Set<string>, say: Say): void {
  const name = o.metadata.labels?.[label];
  if (name === undefined || name === reserved) return;
  const where = o.metadata.labels?.[`${label}-namespace`] || o.metadata.name;
  used.add(`${where}/${name}`);
  if (!s.get('Gateway', where, name)) {
    const text = `waypoint ${where}/${name} does not exist`;
    say('AMB0101', o, ['metadata', 'labels', label], text);
  }
}

/** A second waypoint, of the object's own namespace where no other is named. */
function checkCanary(s: Snapshot, o: KubeObject, used: Set<string>, say: Say): void {
  const name = o.metadata.labels?.[`${label}-canary`];
  if (name === undefined || name === '' || name === reserved) return;
  const home = o.metadata.namespace ?? o.metadata.name;
  const where = o.metadata.labels?.[`${label}-canary-namespace`] || home;
  used.add(`${where}/${name}`);
  if (s.get('Gateway', where, name)) return;
  const text = `canary waypoint ${where}/${name} does not exist`;
  say('AMB0101', o, ['metadata', 'labels', `${label}-canary`], text);
}

function isWaypoint(s: Snapshot, o: KubeObject): boolean {
  const className = text(field(o['spec'], 'gatewayClassName'));
  if (className === 'istio-waypoint') return true;
  const klass = s.get('GatewayClass', '', className);
  return text(field(klass?.['spec'], 'controllerName')) === 'istio.io/mesh-controller';
}

function checkGateway(s: Snapshot, o: KubeObject, used: ReadonlySet<string>, say: Say): void {
  const name = `${namespaceOf(o)}/${o.metadata.name}`;
  const className = text(field(o['spec'], 'gatewayClassName'));
  if (!['istio', 'istio-waypoint'].includes(className) && !s.get('GatewayClass', '', className)) {
    say('IST0101', o, ['spec', 'gatewayClassName'], `GatewayClass ${className} does not exist`);
  }
  if (!isWaypoint(s, o)) return;
  const traffic = dict(o.metadata.labels).get('istio.io/waypoint-for');
  if (traffic !== undefined && !['service', 'workload', 'all', 'none'].includes(traffic)) {
    const text = `"${traffic}" is not one of service, workload, all, none`;
    say('IST0106', o, ['metadata', 'labels', 'istio.io/waypoint-for'], text);
  }
  // A file knows no status: it is not held against it.
  const status = o['status'];
  const addresses = field(status, 'addresses');
  if (status !== undefined && !(Array.isArray(addresses) && addresses.length > 0))
    say('AMB0102', o, ['status', 'addresses'], 'it has no address yet: no pod of it is ready');
  if (!used.has(name) && traffic !== 'none') say('AMB0105', o, [], 'nothing uses this waypoint');
}
