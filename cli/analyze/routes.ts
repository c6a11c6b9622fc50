// Gateway API routes: parents and backends that exist, expressions that can be read, a waypoint to do it. Pure.
import { linearRegex } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { field, list, text } from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';

export const routeKinds = ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute'] as const;
const gatewayGroup = 'gateway.networking.k8s.io';

export function checkRoutes(s: Snapshot, say: Say): void {
  for (const kind of routeKinds) {
    for (const o of s.of(kind)) {
      checkParents(s, o, say);
      for (const [r, rule] of list(field(o['spec'], 'rules')).entries()) {
        const at: Path = ['spec', 'rules', r];
        checkBackends(s, o, rule, at, say);
        for (const [i, f] of list(field(rule, 'filters')).entries()) {
          const ref = field(f, 'requestMirror', 'backendRef');
          const path = [...at, 'filters', i, 'requestMirror', 'backendRef'];
          if (ref !== undefined) checkBackend(s, o, ref, path, say);
        }
        checkExpressions(o, rule, at, say);
      }
    }
  }
}

function checkParents(s: Snapshot, o: KubeObject, say: Say): void {
  for (const [i, p] of list(field(o['spec'], 'parentRefs')).entries()) {
    const group = field(p, 'group') ?? gatewayGroup;
    const kind = text(field(p, 'kind')) || 'Gateway';
    const namespace = text(field(p, 'namespace')) || namespaceOf(o);
    const name = text(field(p, 'name'));
    const path: Path = ['spec', 'parentRefs', i];
    const known = ['Gateway', 'Service', 'ServiceEntry'].includes(kind);
    if (!known || (kind === 'Gateway' && group !== gatewayGroup)) continue;
    const parent = s.get(kind, namespace, name);
    if (!parent) say('IST0101', o, path, `${kind} ${namespace}/${name} does not exist`);
    else if (kind !== 'Gateway' && s.binding(parent, 'service').kind === 'none')
      say('AMB0106', o, path, `${kind} ${namespace}/${name} has no waypoint to follow the route`);
  }
}

function checkBackends(s: Snapshot, o: KubeObject, rule: unknown, at: Path, say: Say): void {
  for (const [i, b] of list(field(rule, 'backendRefs')).entries())
    checkBackend(s, o, b, [...at, 'backendRefs', i], say);
}

function checkBackend(s: Snapshot, o: KubeObject, b: unknown, path: Path, say: Say): void {
  const kind = text(field(b, 'kind')) || 'Service';
  if (kind !== 'Service' || text(field(b, 'group')) !== '') return;
  const namespace = text(field(b, 'namespace')) || namespaceOf(o);
  const name = text(field(b, 'name'));
  const service = s.get('Service', namespace, name);
  if (!service) {
    say('IST0101', o, path, `Service ${namespace}/${name} does not exist`);
    return;
  }
  const port = field(b, 'port');
  const { ports } = s.serviceTarget(service);
  if (port !== undefined && !ports.includes(Number(port))) {
    const text = `Service ${namespace}/${name} has no port ${Number(port)}; it has ${ports.join(', ')}`;
    say('IST0101', o, [...path, 'port'], text);
  }
}

/** What is wrong with a regular expression, if it cannot be read. */
export function regexFault(text: string): string | undefined {
  const made = linearRegex(text);
  return typeof made === 'function' ? undefined : made.refused;
}

function checkExpressions(o: KubeObject, rule: unknown, at: Path, say: Say): void {
  const look = (m: unknown, path: Path): void => {
    if (text(field(m, 'type')) !== 'RegularExpression') return;
    const fault = regexFault(text(field(m, 'value')));
    if (fault !== undefined) say('IST0122', o, [...path, 'value'], fault);
  };
  for (const [i, m] of list(field(rule, 'matches')).entries()) {
    const path = [...at, 'matches', i];
    look(field(m, 'path'), [...path, 'path']);
    for (const part of ['headers', 'queryParams'])
      for (const [j, h] of list(field(m, part)).entries()) look(h, [...path, part, j]);
  }
}
