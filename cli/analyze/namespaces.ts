// Namespaces: in the mesh or not, and labels that contradict each other. Pure.
import type { Say, Snapshot } from './snapshot.ts';

const mode = 'istio.io/dataplane-mode';
const injection = 'istio-injection';

export function checkNamespaces(s: Snapshot, say: Say): void {
  for (const o of s.of('Namespace')) {
    const { name } = o.metadata;
    if (s.isSystem(name)) continue;
    const labels = s.labelsOf(name);
    const own = labels.get(mode);
    if (own !== undefined && own !== 'ambient' && own !== 'none') {
      say('AMB0304', o, ['metadata', 'labels', mode], `"${own}" is not ambient and not none`);
    }
    const sidecars = labels.get(injection) ?? (own === 'ambient' ? undefined : '');
    if (own === 'ambient' && sidecars !== undefined && sidecars !== 'disabled') {
      const text = `${injection}=${sidecars} and ${mode}=ambient: pods with a sidecar are not captured`;
      say('IST0123', o, ['metadata', 'labels', injection], text);
    }
    const here = s.workloads.filter((w) => w.namespace === name);
    const asked = own !== undefined || labels.has(injection) || labels.has('istio.io/rev');
    if (!asked && here.length > 0 && !here.some((w) => w.meshed)) {
      const text = `no workload of namespace ${name} is in the mesh`;
      say('IST0102', o, ['metadata', 'labels'], text);
    }
  }
}
