// Services: ports whose protocol can be told, targets that exist, selectors that match. Pure.
import { dict, field, list, text } from '../../istiod-lite/index.ts';
import { namespaceOf, type Say, type Snapshot, type WorkloadView } from './snapshot.ts';

/** Istio's names of protocols at the start of a port's name. */
const conventional =
  /^(http|http2|https|grpc|grpc-web|hbone|mongo|mysql|redis|tcp|tls|udp)(-.*)?$/i;
/** Taken for TCP without a name. */
const wellKnown = new Set([25, 53, 3306, 27_017]);

function namedPorts(w: WorkloadView): Set<string> {
  const all = [
    ...list(field(w.spec, 'containers')),
    ...list(field(w.spec, 'initContainers')).filter((c) => field(c, 'restartPolicy') === 'Always'),
  ];
  return new Set(all.flatMap((c) => list(field(c, 'ports'))).map((p) => text(field(p, 'name'))));
}

export function checkServices(s: Snapshot, say: Say): void {
  for (const o of s.of('Service')) {
    const namespace = namespaceOf(o);
    const spec = o['spec'];
    if (s.isSystem(namespace) || text(field(spec, 'type')) === 'ExternalName') continue;
    if (o.metadata.labels?.['gateway.istio.io/managed'] !== undefined) continue;
    const selector = dict(field(spec, 'selector'));
    const picked = selector.size === 0 ? [] : s.selected(namespace, selector);
    if (selector.size > 0 && picked.length === 0) {
      const labels = [...selector].map(([k, v]) => `${k}=${v}`).join(',');
      say('IST0127', o, ['spec', 'selector'], `no workload has the labels ${labels}`);
    }
    for (const [i, p] of list(field(spec, 'ports')).entries()) {
      const name = text(field(p, 'name'));
      const number = Number(field(p, 'port'));
      const known =
        text(field(p, 'appProtocol')) !== '' ||
        text(field(p, 'protocol')) === 'UDP' ||
        conventional.test(name) ||
        wellKnown.has(number);
      if (!known) {
        const shown = name === '' ? 'the port has no name' : `the name ${name}`;
        const text = `port ${number}: ${shown} and no appProtocol, so its protocol is not known`;
        say('IST0118', o, ['spec', 'ports', i, 'name'], text);
      }
      const target = field(p, 'targetPort');
      if (typeof target !== 'string' || picked.length === 0) continue;
      if (!picked.some((w) => namedPorts(w).has(target))) {
        const text = `port ${number}: no selected workload has a container port named ${target}`;
        say('AMB0306', o, ['spec', 'ports', i, 'targetPort'], text);
      }
    }
  }
}
