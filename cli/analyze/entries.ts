// ServiceEntries: usable at all, owners of their hosts and addresses, a waypoint where one is needed. Pure; who
// owns a host is the control plane's decision.
import { dict, field, HostOwners, list, selects, text, texts } from '../../istiod-lite/index.ts';
import { namespaceOf, type Say, type Snapshot } from './snapshot.ts';

export function checkServiceEntries(s: Snapshot, say: Say): void {
  const owners = new HostOwners(s.cluster, s.settings);
  for (const o of s.of('ServiceEntry')) {
    const namespace = namespaceOf(o);
    const facts = s.cluster.serviceEntries.get(namespace, o.metadata.name);
    if (!facts) continue;
    if (facts.fault !== undefined) {
      say('AMB0401', o, ['spec'], facts.fault);
      continue;
    }
    const spoken = new Set(owners.hosts(facts));
    for (const [i, host] of texts(field(o['spec'], 'hosts')).entries()) {
      if (!spoken.has(host.toLowerCase()))
        say('AMB0404', o, ['spec', 'hosts', i], `another object speaks for ${host}`);
      else if (host.startsWith('*') && !s.wantsWaypoint({ ...s.serviceTarget(o), namespace }))
        say('AMB0402', o, ['spec', 'hosts', i], `${host} and no waypoint`);
    }
    if (owners.trespasses(facts))
      say(
        'AMB0403',
        o,
        ['spec', 'addresses'],
        'an address is that of a service of another namespace',
      );
    if (field(o['spec'], 'exportTo') !== undefined)
      say('AMB0405', o, ['spec', 'exportTo'], 'exportTo is not read');
    const optedOut =
      (facts.labels.get('networking.istio.io/enable-autoallocate-ip') ?? '').toLowerCase() ===
      'false';
    const without = facts.addresses.length === 0 && (facts.resolution === 'NONE' || optedOut);
    for (const [i, p] of list(field(o['spec'], 'ports')).entries()) {
      const protocol = text(field(p, 'protocol')).toUpperCase();
      if (without && (protocol === '' || protocol === 'TCP')) {
        const why = `port ${Number(field(p, 'number'))} is TCP and the entry has no addresses`;
        say('IST0134', o, ['spec', 'ports', i], why);
      }
    }
    const labels = field(o['spec'], 'workloadSelector', 'labels');
    if (labels === undefined) continue;
    const selector = dict(labels);
    const entries = [...s.cluster.workloadEntries.in(namespace)];
    const some =
      s.selected(namespace, selector).length > 0 ||
      entries.some((w) => selects(selector, w.endpoint?.labels ?? w.labels));
    if (some) continue;
    const shown = [...selector].map(([k, v]) => `${k}=${v}`).join(',');
    say('IST0127', o, ['spec', 'workloadSelector'], `no workload has the labels ${shown}`);
  }
}
