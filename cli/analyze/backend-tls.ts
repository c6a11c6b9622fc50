// BackendTLSPolicies: targets that exist and are sent to by somebody, and what they say of certificates. Pure; what can be
// carried out is the control plane's decision.
import type { KubeObject } from '../../core/kube/index.ts';
import { field, list, readBackendTlsPolicy, text } from '../../istiod-lite/index.ts';
import { routeKinds } from './routes.ts';
import { namespaceOf, type Say, type Snapshot } from './snapshot.ts';

/** Whether a route with a Gateway as parent leads to the Service. */
function fromGateway(s: Snapshot, service: KubeObject): boolean {
  for (const kind of routeKinds) {
    for (const r of s.of(kind)) {
      const parents = list(field(r['spec'], 'parentRefs'));
      if (!parents.some((p) => (text(field(p, 'kind')) || 'Gateway') === 'Gateway')) continue;
      const hit = list(field(r['spec'], 'rules')).some((rule) =>
        list(field(rule, 'backendRefs')).some(
          (b) =>
            text(field(b, 'name')) === service.metadata.name &&
            (text(field(b, 'namespace')) || namespaceOf(r)) === namespaceOf(service),
        ),
      );
      if (hit) return true;
    }
  }
  return false;
}

export function checkBackendTls(s: Snapshot, say: Say): void {
  for (const o of s.of('BackendTLSPolicy')) {
    const p = readBackendTlsPolicy(o);
    const at = ['spec', 'validation'];
    for (const fault of p.faults) say('IST0106', o, at, fault);
    for (const [i, t] of p.targets.entries()) {
      const path = ['spec', 'targetRefs', i];
      const shown = `${t.kind} ${p.namespace}/${t.name}`;
      const target = s.get(t.kind, p.namespace, t.name);
      if (!target) {
        say('IST0101', o, path, `${shown} does not exist`);
        continue;
      }
      const ports = list(field(target['spec'], 'ports')).map((x) => text(field(x, 'name')));
      if (t.section !== '' && !ports.includes(t.section)) {
        const message = `${shown} has no port named ${t.section}; it has ${ports.join(', ')}`;
        say('IST0101', o, [...path, 'sectionName'], message);
      }
      if (s.binding(target, 'service').kind === 'none' && !fromGateway(s, target))
        say('AMB0106', o, path, `${shown} has no waypoint, and no Gateway leads to it`);
    }
  }
}
