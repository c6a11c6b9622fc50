// Workloads: captured as their labels ask, one address each, reachable on the mesh's own port. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { redirectionKey } from '../../core/model/index.ts';
import { dict, field, list, selects, text, texts } from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot, type WorkloadView } from './snapshot.ts';

const hbonePort = 15_008;
const proxyUser = 1337;

export function checkWorkloads(s: Snapshot, say: Say): void {
  for (const w of s.workloads) {
    if (s.isSystem(w.namespace)) continue;
    if (w.pod) checkEnrolled(w, say);
    // What a template says is said once, not for each of its pods.
    if (w.owned) continue;
    checkCapturable(s, w, say);
    checkUser(w, say);
  }
  checkAddresses(s, say);
  checkNetworkPolicies(s, say);
}

function checkEnrolled(w: WorkloadView, say: Say): void {
  const { object: o } = w;
  const running = text(field(o['status'], 'phase')) === 'Running';
  if (!w.meshed || !running || o.metadata.deletionTimestamp !== undefined) return;
  const state = o.metadata.annotations?.[redirectionKey];
  if (state === 'enabled') return;
  const why = state === undefined ? 'is not captured' : `is not captured yet (${state})`;
  say('AMB0301', o, ['metadata', 'annotations'], `the labels ask for the mesh and the pod ${why}`);
}

function checkCapturable(s: Snapshot, w: WorkloadView, say: Say): void {
  if (w.meshed) return;
  const own = w.labels.get('istio.io/dataplane-mode');
  if (own === 'none' || (own !== 'ambient' && !s.isMeshed(w.namespace))) return;
  if (field(w.spec, 'hostNetwork') === true) {
    say('AMB0302', w.object, [...w.at, 'hostNetwork'], 'it uses the host network');
  } else {
    say('AMB0302', w.object, w.at, 'it has a sidecar');
  }
}

function checkUser(w: WorkloadView, say: Say): void {
  const report = (o: unknown, at: Path): void => {
    if (field(o, 'securityContext', 'runAsUser') === proxyUser) {
      const path = [...at, 'securityContext', 'runAsUser'];
      say('IST0144', w.object, path, `user ${proxyUser} is the proxies’`);
    }
  };
  report(w.spec, w.at);
  for (const [i, c] of list(field(w.spec, 'containers')).entries()) {
    if (text(field(c, 'name')) !== 'istio-proxy') report(c, [...w.at, 'containers', i]);
  }
}

const addressesOf = (o: KubeObject): readonly string[] => {
  const many = list(field(o['status'], 'podIPs')).map((p) => text(field(p, 'ip')));
  return (many.length > 0 ? many : [text(field(o['status'], 'podIP'))]).filter((ip) => ip !== '');
};

function checkAddresses(s: Snapshot, say: Say): void {
  const owners = new Map<string, KubeObject>();
  for (const w of s.workloads) {
    if (!w.pod || field(w.spec, 'hostNetwork') === true) continue;
    for (const ip of addressesOf(w.object)) {
      const other = owners.get(ip);
      if (other) {
        const name = `${namespaceOf(other)}/${other.metadata.name}`;
        say('AMB0303', w.object, ['status', 'podIP'], `${ip} is the address of pod ${name} too`);
      } else owners.set(ip, w.object);
    }
  }
}

/** Whether one entry of `ingress` lets in what arrives on the mesh's port. */
function letsIn(rule: unknown): boolean {
  const ports = list(field(rule, 'ports'));
  return (
    ports.length === 0 ||
    ports.some((p) => {
      if ((text(field(p, 'protocol')) || 'TCP') !== 'TCP') return false;
      const port = field(p, 'port');
      const end = Number(field(p, 'endPort') ?? port);
      return port === undefined || (Number(port) <= hbonePort && hbonePort <= end);
    })
  );
}

function checkNetworkPolicies(s: Snapshot, say: Say): void {
  for (const o of s.of('NetworkPolicy')) {
    const spec = o['spec'];
    const types = texts(field(spec, 'policyTypes'));
    if (types.length > 0 && !types.includes('Ingress')) continue;
    const rules = list(field(spec, 'ingress'));
    // No rule at all is meant: nobody shall come in.
    if (rules.length === 0 || rules.some(letsIn)) continue;
    const labels = dict(field(spec, 'podSelector', 'matchLabels'));
    const hit = s.workloads.find(
      (w) => w.meshed && w.namespace === namespaceOf(o) && selects(labels, w.labels),
    );
    if (!hit) continue;
    const text = `port ${hbonePort} is closed for ${hit.object.metadata.name}, which is in the mesh`;
    say('AMB0305', o, ['spec', 'ingress'], text);
  }
}
