// VirtualServices: hosts, destinations and subsets that exist, rules that can be reached, one object for a host,
// and a waypoint to follow them. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { field, list, text, texts } from '../../istiod-lite/index.ts';
import { regexFault, routeKinds } from './routes.ts';
import { namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';

const parts = ['http', 'tcp', 'tls'] as const;

export function checkVirtualServices(s: Snapshot, say: Say): void {
  const speakers = new Map<string, KubeObject[]>();
  for (const o of s.of('VirtualService')) {
    const mesh = inMesh(o);
    for (const [i, host] of texts(field(o['spec'], 'hosts')).entries()) {
      if (mesh) checkHost(s, o, host, ['spec', 'hosts', i], speakers, say);
    }
    checkGateways(s, o, say);
    for (const part of parts) checkRules(s, o, part, say);
  }
  for (const [host, all] of speakers) {
    if (all.length < 2) continue;
    const names = all.map((o) => `${namespaceOf(o)}/${o.metadata.name}`).toSorted();
    for (const o of all)
      say('IST0109', o, ['spec', 'hosts'], `${names.join(' and ')} both route ${host}`);
  }
}

/** For calls from one workload of the mesh to another. */
function inMesh(o: KubeObject): boolean {
  const gateways = texts(field(o['spec'], 'gateways'));
  return gateways.length === 0 || gateways.includes('mesh');
}

function checkHost(
  s: Snapshot,
  o: KubeObject,
  host: string,
  path: Path,
  speakers: Map<string, KubeObject[]>,
  say: Say,
): void {
  const target = s.host(host, namespaceOf(o));
  if (!target) {
    if (!host.includes('*')) say('IST0101', o, path, `no service has the host ${host}`);
    return;
  }
  const { object } = target;
  const key = `${object.kind ?? ''} ${target.namespace}/${object.metadata.name}`;
  speakers.set(key, [...(speakers.get(key) ?? []), o]);
  if (s.binding(object, 'service').kind === 'none')
    say('AMB0106', o, path, `${key} has no waypoint to follow the routes`);
  const routed = routeKinds.flatMap((kind) => [...s.of(kind)]).find((r) => isParent(r, object));
  if (routed) {
    const name = `${routed.kind ?? ''} ${namespaceOf(routed)}/${routed.metadata.name}`;
    say('AMB0107', o, path, `${name} routes ${key} too`);
  }
}

function isParent(route: KubeObject, service: KubeObject): boolean {
  return list(field(route['spec'], 'parentRefs')).some(
    (p) =>
      text(field(p, 'kind')) === service.kind &&
      text(field(p, 'name')) === service.metadata.name &&
      (text(field(p, 'namespace')) || namespaceOf(route)) === namespaceOf(service),
  );
}

function checkGateways(s: Snapshot, o: KubeObject, say: Say): void {
  for (const [i, g] of texts(field(o['spec'], 'gateways')).entries()) {
    if (g === 'mesh') continue;
    const [a = '', b] = g.split('/');
    const [namespace, name] = b === undefined ? [namespaceOf(o), a] : [a, b];
    if (!s.get('IstioGateway', namespace, name) && !s.get('Gateway', namespace, name))
      say('IST0101', o, ['spec', 'gateways', i], `Gateway ${namespace}/${name} does not exist`);
  }
}

function checkRules(s: Snapshot, o: KubeObject, part: (typeof parts)[number], say: Say): void {
  const seen: { readonly rule: number; readonly match: string }[] = [];
  let takesAll: number | undefined;
  for (const [r, rule] of list(field(o['spec'], part)).entries()) {
    const at: Path = ['spec', part, r];
    for (const [i, d] of list(field(rule, 'route')).entries())
      checkDestination(s, o, field(d, 'destination'), [...at, 'route', i, 'destination'], say);
    const mirror = field(rule, 'mirror');
    if (mirror !== undefined) checkDestination(s, o, mirror, [...at, 'mirror'], say);
    for (const [i, m] of list(field(rule, 'mirrors')).entries())
      checkDestination(s, o, field(m, 'destination'), [...at, 'mirrors', i, 'destination'], say);
    if (takesAll !== undefined) {
      say('IST0130', o, at, `rule ${takesAll} before it has no match and takes everything`);
      continue;
    }
    const matches = list(field(rule, 'match'));
    if (matches.length === 0) takesAll = r;
    checkMatches(o, r, matches, at, seen, say);
  }
}

function checkMatches(
  o: KubeObject,
  r: number,
  matches: readonly unknown[],
  at: Path,
  seen: { rule: number; match: string }[],
  say: Say,
): void {
  const repeated: { path: Path; text: string }[] = [];
  for (const [i, m] of matches.entries()) {
    const path = [...at, 'match', i];
    for (const [name, fault] of regexFaults(m)) say('IST0122', o, [...path, ...name], fault);
    const match = JSON.stringify({ ...(m as object), name: undefined });
    const before = seen.find((x) => x.match === match);
    if (before) repeated.push({ path, text: `the match repeats one of rule ${before.rule}` });
    else seen.push({ rule: r, match });
  }
  if (matches.length > 0 && repeated.length === matches.length) {
    say('IST0130', o, at, 'every match of it repeats one of an earlier rule');
    return;
  }
  for (const { path, text: why } of repeated) say('IST0131', o, path, why);
}

/** Expressions of a match that cannot be read, with where they stand in it. */
function regexFaults(match: unknown): [Path, string][] {
  const out: [Path, string][] = [];
  const look = (m: unknown, path: Path): void => {
    const expression = field(m, 'regex');
    const fault = typeof expression === 'string' ? regexFault(expression) : undefined;
    if (fault !== undefined) out.push([[...path, 'regex'], fault]);
  };
  for (const name of ['uri', 'scheme', 'method', 'authority']) look(field(match, name), [name]);
  for (const name of ['headers', 'withoutHeaders', 'queryParams']) {
    const all = field(match, name);
    if (typeof all !== 'object' || all === null) continue;
    for (const [key, m] of Object.entries(all)) look(m, [name, key]);
  }
  return out;
}

function checkDestination(s: Snapshot, o: KubeObject, d: unknown, path: Path, say: Say): void {
  const host = text(field(d, 'host'));
  const namespace = namespaceOf(o);
  const target = s.host(host, namespace);
  if (!target) {
    say('IST0101', o, [...path, 'host'], `no service has the host ${host}`);
    return;
  }
  const port = field(d, 'port', 'number');
  if (port === undefined && target.ports.length > 1) {
    const text = `service ${host} has several ports (${target.ports.join(', ')}): name one`;
    say('IST0112', o, path, text);
  } else if (port !== undefined && !target.ports.includes(Number(port))) {
    const text = `service ${host} has no port ${Number(port)}; it has ${target.ports.join(', ')}`;
    say('IST0101', o, [...path, 'port'], text);
  }
  const subset = text(field(d, 'subset'));
  if (subset === '') return;
  for (const rule of s.of('DestinationRule')) {
    const its = s.host(text(field(rule['spec'], 'host')), namespaceOf(rule));
    if (its?.object !== target.object) continue;
    if (list(field(rule['spec'], 'subsets')).some((x) => field(x, 'name') === subset)) return;
  }
  const why = `no DestinationRule of ${host} has a subset ${subset}`;
  say('IST0101', o, [...path, 'subset'], why);
}
