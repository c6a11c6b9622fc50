// AuthorizationPolicies: values that cannot be read, what node proxies cannot judge, targets and selectors that
// lead nowhere, policies that cancel each other. What a rule means is the translator's to say. Pure.
import { parseCidr, parsePort } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import {
  dict,
  type Dict,
  field,
  list,
  readAuthorizationPolicy,
  text,
  texts,
  translatePolicy,
} from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';

const actions = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'];
const gatewayGroup = 'gateway.networking.k8s.io';
const gatewayLabel = 'gateway.networking.k8s.io/gateway-name';
const sourceL7 = [
  'remoteIpBlocks',
  'notRemoteIpBlocks',
  'requestPrincipals',
  'notRequestPrincipals',
];
const operationL7 = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'];
const keysL4 = new Set([
  'source.ip',
  'source.namespace',
  'source.principal',
  'destination.ip',
  'destination.port',
]);

export function checkPolicies(s: Snapshot, say: Say): void {
  for (const o of s.of('AuthorizationPolicy')) {
    const action = text(field(o['spec'], 'action')) || 'ALLOW';
    if (!actions.includes(action))
      say('IST0106', o, ['spec', 'action'], `"${action}" is not one of ${actions.join(', ')}`);
    checkValues(o, say);
    const targets = targetsOf(o);
    if (targets.length > 0) checkTargets(s, o, targets, say);
    else checkAtL4(s, o, action, say);
  }
  checkConflicts(s, say);
}

interface Target {
  readonly path: Path;
  readonly group: string;
  readonly kind: string;
  readonly name: string;
}

function targetsOf(o: KubeObject): Target[] {
  const read = (t: unknown, path: Path): Target => ({
    path,
    group: text(field(t, 'group')),
    kind: text(field(t, 'kind')),
    name: text(field(t, 'name')),
  });
  const many = list(field(o['spec'], 'targetRefs'));
  if (many.length > 0) return many.map((t, i) => read(t, ['spec', 'targetRefs', i]));
  const one = field(o['spec'], 'targetRef');
  return one === undefined ? [] : [read(one, ['spec', 'targetRef'])];
}

/** Ports and address blocks, wherever a rule may have them. */
function checkValues(o: KubeObject, say: Say): void {
  const each = (
    at: unknown,
    path: Path,
    name: string,
    what: string,
    ok: (v: string) => boolean,
  ) => {
    for (const [i, v] of list(field(at, name)).entries()) {
      if (!ok(String(v)))
        say('IST0106', o, [...path, name, i], `${JSON.stringify(v)} is no ${what}`);
    }
  };
  const isPort = (v: string): boolean => parsePort(v) !== undefined;
  const isBlock = (v: string): boolean => parseCidr(v) !== undefined;
  for (const [r, rule] of list(field(o['spec'], 'rules')).entries()) {
    const at: Path = ['spec', 'rules', r];
    for (const [i, x] of list(field(rule, 'to')).entries()) {
      const path = [...at, 'to', i, 'operation'];
      for (const name of ['ports', 'notPorts'])
        each(field(x, 'operation'), path, name, 'port', isPort);
    }
    for (const [i, x] of list(field(rule, 'from')).entries()) {
      const path = [...at, 'from', i, 'source'];
      for (const name of ['ipBlocks', 'notIpBlocks', 'remoteIpBlocks', 'notRemoteIpBlocks'])
        each(field(x, 'source'), path, name, 'address or block', isBlock);
    }
    for (const [i, x] of list(field(rule, 'when')).entries()) {
      const key = text(field(x, 'key'));
      const path = [...at, 'when', i];
      if (key === '') say('IST0106', o, [...path, 'key'], 'a condition needs a key');
      for (const name of ['values', 'notValues']) {
        if (key === 'destination.port') each(x, path, name, 'port', isPort);
        if (key === 'source.ip' || key === 'destination.ip')
          each(x, path, name, 'address or block', isBlock);
      }
    }
  }
}

/** The first attribute of a rule that only L7 can judge. */
function httpAttribute(rule: unknown, at: Path): Path | undefined {
  const present = (o: unknown, names: readonly string[], path: Path): Path | undefined => {
    const name = names.find((n) => list(field(o, n)).length > 0);
    return name === undefined ? undefined : [...path, name];
  };
  for (const [i, x] of list(field(rule, 'to')).entries()) {
    const hit = present(field(x, 'operation'), operationL7, [...at, 'to', i, 'operation']);
    if (hit) return hit;
  }
  for (const [i, x] of list(field(rule, 'from')).entries()) {
    const hit = present(field(x, 'source'), sourceL7, [...at, 'from', i, 'source']);
    if (hit) return hit;
  }
  for (const [i, x] of list(field(rule, 'when')).entries()) {
    const key = text(field(x, 'key'));
    if (key !== '' && !keysL4.has(key)) return [...at, 'when', i, 'key'];
  }
  return undefined;
}

function checkAtL4(s: Snapshot, o: KubeObject, action: string, say: Say): void {
  if (action === 'AUDIT' || action === 'CUSTOM') {
    say('AMB0202', o, ['spec', 'action'], `node proxies do not support the ${action} action`);
    return;
  }
  const facts = readAuthorizationPolicy(o);
  const { status } = translatePolicy(facts, s.settings.rootNamespace);
  for (const [r, rule] of list(field(o['spec'], 'rules')).entries()) {
    const path = httpAttribute(rule, ['spec', 'rules', r]);
    if (path) say('AMB0201', o, path, status?.message ?? 'HTTP attributes are not judged at L4');
  }
  const namespace = namespaceOf(o);
  if (facts.selector?.size === 0) {
    say('AMB0203', o, ['spec', 'selector'], 'the selector has no labels and selects no workload');
    return;
  }
  const selector: Dict = facts.selector ?? new Map();
  const picked = s.selected(namespace, selector);
  if (selector.size > 0 && picked.length === 0) {
    const labels = [...selector].map(([k, v]) => `${k}=${v}`).join(',');
    say('IST0127', o, ['spec', 'selector'], `no workload has the labels ${labels}`);
  }
  const proxies = picked.filter((w) => w.labels.has(gatewayLabel));
  const [proxy] = proxies;
  if (selector.size > 0 && proxy) {
    const name = proxy.labels.get(gatewayLabel) ?? '';
    say('IST0166', o, ['spec', 'selector'], `it selects pods of the gateway ${name}`);
  }
  const outside = picked.filter((w) => !w.meshed && !w.owned && !s.isSystem(w.namespace));
  if (outside.length > 0 && namespace !== s.settings.rootNamespace && proxies.length === 0) {
    const names = outside.slice(0, 3).map((w) => w.object.metadata.name);
    const text = `${outside.length} of the workloads it selects are not in the mesh: ${names.join(', ')}`;
    say('AMB0212', o, selector.size > 0 ? ['spec', 'selector'] : ['spec'], text);
  }
}

function checkTargets(s: Snapshot, o: KubeObject, targets: readonly Target[], say: Say): void {
  const namespace = namespaceOf(o);
  if (field(o['spec'], 'selector') !== undefined)
    say('IST0106', o, ['spec', 'selector'], 'selector and targetRefs exclude each other');
  for (const { path, group, kind, name } of targets) {
    const missing = (where: string): void =>
      say('IST0101', o, path, `${kind} ${where} does not exist`);
    if (kind === 'GatewayClass' && group === gatewayGroup) {
      const klass = s.get('GatewayClass', '', name);
      const builtIn = name === 'istio-waypoint';
      if (namespace !== s.settings.rootNamespace) {
        const text = `a GatewayClass is a target in namespace ${s.settings.rootNamespace} only`;
        say('AMB0213', o, path, text);
      } else if (!klass && !builtIn) missing(name);
      else if (
        klass &&
        text(field(klass['spec'], 'controllerName')) !== 'istio.io/mesh-controller'
      ) {
        say('AMB0213', o, path, `GatewayClass ${name} is not one of waypoints`);
      }
    } else if (kind === 'Gateway' && group === gatewayGroup) {
      if (!s.get('Gateway', namespace, name)) missing(`${namespace}/${name}`);
    } else if (
      (kind === 'Service' && (group === '' || group === 'core')) ||
      kind === 'ServiceEntry'
    ) {
      const target = s.get(kind, namespace, name);
      if (!target) missing(`${namespace}/${name}`);
      else if (s.binding(target, 'service').kind === 'none')
        say('AMB0214', o, path, `${kind} ${namespace}/${name} has no waypoint`);
    } else {
      say('IST0106', o, path, `a policy cannot be attached to ${kind}.${group || 'core'}`);
    }
  }
}

/** Where a policy without targets holds: `*` the mesh, a namespace, or workloads of one. */
interface Reach {
  readonly object: KubeObject;
  readonly namespace: string;
  readonly selector: Dict;
}

function covers(s: Snapshot, wide: Reach, narrow: Reach): boolean {
  const root = s.settings.rootNamespace;
  if (wide.namespace !== narrow.namespace && wide.namespace !== root) return false;
  for (const [k, v] of wide.selector) if (narrow.selector.get(k) !== v) return false;
  return true;
}

/** A DENY rule without any condition refuses everything where it holds. */
const deniesAll = (o: KubeObject): boolean =>
  list(field(o['spec'], 'rules')).some((rule) =>
    ['from', 'to', 'when'].every((part) => list(field(rule, part)).length === 0),
  );

/** Independent of the order in which keys were written. */
function canonical(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(canonical);
  if (typeof v !== 'object' || v === null) return v;
  const pairs = Object.entries(v as Record<string, unknown>);
  return pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([k, x]) => [k, canonical(x)]);
}

const ruleTexts = (o: KubeObject): string[] =>
  list(field(o['spec'], 'rules')).map((r) => JSON.stringify(canonical(r)));

function checkConflicts(s: Snapshot, say: Say): void {
  const at: Reach[] = [...s.of('AuthorizationPolicy')]
    .filter((o) => targetsOf(o).length === 0)
    .filter((o) => !texts([o.metadata.annotations?.['istio.io/dry-run']]).includes('true'))
    .map((object) => ({
      object,
      namespace: namespaceOf(object),
      selector: dict(field(object['spec'], 'selector', 'matchLabels')),
    }));
  const actionOf = (r: Reach): string => text(field(r.object['spec'], 'action')) || 'ALLOW';
  const denies = at
    .filter((r) => actionOf(r) === 'DENY')
    .map((r) => ({ ...r, all: deniesAll(r.object), rules: new Set(ruleTexts(r.object)) }));
  for (const allow of at.filter((r) => actionOf(r) === 'ALLOW')) {
    for (const deny of denies) {
      if (!covers(s, deny, allow)) continue;
      const name = `${deny.namespace}/${deny.object.metadata.name}`;
      if (deny.all) {
        say('AMB0207', allow.object, ['spec'], `DENY policy ${name} refuses everything here`);
        continue;
      }
      for (const [i, rule] of ruleTexts(allow.object).entries()) {
        if (deny.rules.has(rule)) {
          const text = `DENY policy ${name} has the same rule and wins`;
          say('AMB0207', allow.object, ['spec', 'rules', i], text);
        }
      }
    }
  }
}
