// A ServiceEntry seen as the services it stands for, one per host, so that everything a waypoint does for a Service it
// does for an entry too (waypoint-l7.md 11).
import type { ServiceEntryFacts, ServiceFacts } from '../cluster/index.ts';

function viewOf(e: ServiceEntryFacts, host: string): ServiceFacts {
  return {
    name: e.name,
    namespace: e.namespace,
    uid: e.uid,
    labels: e.labels,
    annotations: e.annotations,
    created: e.created,
    generation: e.generation,
    host,
    type: 'ClusterIP',
    clusterIps: [],
    headless: false,
    selector: new Map(),
    // The protocol field is read as an appProtocol: whole words, no prefix of a name (2.1, step 3).
    ports: e.ports.map((p) => ({
      name: p.name,
      port: p.number,
      protocol: 'TCP',
      appProtocol: p.protocol.toLowerCase() || 'unknown',
      targetPort: p.targetPort,
    })),
    ipFamilies: [],
    internalTrafficPolicy: '',
    trafficDistribution: '',
    publishNotReady: false,
    balancer: [],
  };
}

const known = new WeakMap<ServiceEntryFacts, ReadonlyMap<string, ServiceFacts>>();

/** By host; made once per entry. Of wildcards only those whose names are resolved as they are asked for. */
export function entryServices(e: ServiceEntryFacts): ReadonlyMap<string, ServiceFacts> {
  let all = known.get(e);
  if (!all) {
    const hosts =
      e.fault === undefined ? e.hosts.filter((h) => e.dynamic || !h.startsWith('*')) : [];
    all = new Map(hosts.map((h) => [h, viewOf(e, h)]));
    known.set(e, all);
  }
  return all;
}
