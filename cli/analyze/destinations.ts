// DestinationRules: hosts and subsets that exist, TLS that checks who answers, a waypoint to follow them. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { dict, field, list, selects, text } from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';

export function checkDestinationRules(s: Snapshot, say: Say): void {
  for (const o of s.of('DestinationRule')) {
    const host = text(field(o['spec'], 'host'));
    const policy: Path = ['spec', 'trafficPolicy'];
    checkTls(o, host, field(o['spec'], 'trafficPolicy'), policy, say);
    for (const [i, x] of list(field(o['spec'], 'subsets')).entries())
      checkTls(o, host, field(x, 'trafficPolicy'), ['spec', 'subsets', i, 'trafficPolicy'], say);
    const target = s.host(host, namespaceOf(o));
    if (!target) {
      if (!host.includes('*'))
        say('IST0174', o, ['spec', 'host'], `no service has the host ${host}`);
      continue;
    }
    if (s.binding(target.object, 'service').kind === 'none') {
      const { kind, metadata } = target.object;
      const text = `${kind ?? ''} ${target.namespace}/${metadata.name} has no waypoint to follow it`;
      say('AMB0106', o, ['spec', 'host'], text);
    }
    if (!target.selector) continue;
    const behind = s.selected(target.namespace, target.selector);
    for (const [i, x] of list(field(o['spec'], 'subsets')).entries()) {
      const labels = dict(field(x, 'labels'));
      if (behind.some((w) => selects(labels, w.labels))) continue;
      const shown = [...labels].map(([k, v]) => `${k}=${v}`).join(',');
      const why = `subset ${text(field(x, 'name'))}: no workload of ${host} has the labels ${shown}`;
      say('IST0173', o, ['spec', 'subsets', i], why);
    }
  }
}

/** Set, and without anything to check the certificate of the other side by. */
function unchecked(tls: unknown): string | undefined {
  const mode = text(field(tls, 'mode'));
  if (mode !== 'SIMPLE' && mode !== 'MUTUAL') return undefined;
  const checks = ['caCertificates', 'credentialName'].some((n) => text(field(tls, n)) !== '');
  return checks || field(tls, 'insecureSkipVerify') === true ? undefined : mode;
}

function checkTls(o: KubeObject, host: string, policy: unknown, at: Path, say: Say): void {
  const mode = unchecked(field(policy, 'tls'));
  if (mode !== undefined)
    say('IST0128', o, [...at, 'tls'], `TLS ${mode} to ${host} without caCertificates`);
  for (const [i, p] of list(field(policy, 'portLevelSettings')).entries()) {
    const its = unchecked(field(p, 'tls'));
    if (its === undefined) continue;
    const port = Number(field(p, 'port', 'number'));
    const path = [...at, 'portLevelSettings', i, 'tls'];
    say('IST0129', o, path, `TLS ${its} to ${host}:${port} without caCertificates`);
  }
}
