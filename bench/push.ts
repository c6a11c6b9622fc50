// What a push costs both ends, without the network between them: encoding, a full sync of 100 streams, one
// changed workload for all of them, and the longest pause of a proxy that takes 10,000 workloads in
// (performance.md section 3, row `xds/push`; the promise is no pause over 50 ms, better 20).
import { type IpAddress, parseIp, silentLog } from '../core/base/index.ts';
import { namespacedHost, networkAddress, podUid, type Workload } from '../core/model/index.ts';
import {
  addressType,
  authorizationType,
  decodeAddress,
  DeltaServerState,
  encodeWorkload,
  MeshFeed,
  Snapshots,
} from '../core/xds/index.ts';
import type { Result } from './data-path.ts';
import { longest } from './sampling.ts';

const streams = 100;
const workloads = 10_000;
/** As the proxy's own client slices its decoding. */
const slice = 100;

function workload(i: number, status: Workload['status'] = 'Healthy'): Workload {
  const ip = parseIp(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`) as IpAddress;
  return {
    uid: podUid('Kubernetes', `team-${i % 100}`, `app-${i}`),
    name: `app-${i}`,
    namespace: `team-${i % 100}`,
    addresses: [ip],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: `app-${i % 500}`,
    node: `n${i % 200}`,
    canonicalName: `app-${i % 500}`,
    canonicalRevision: 'v1',
    workloadType: 'pod',
    workloadName: `app-${i % 500}`,
    nativeTunnel: false,
    authorizationPolicies: [],
    status,
    clusterId: 'Kubernetes',
    services: new Map([
      [
        namespacedHost(`team-${i % 100}`, `app-${i % 500}.team-${i % 100}.svc.cluster.local`),
        new Map([[80, 8080]]),
      ],
    ]),
    locality: { region: 'r', zone: 'z', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  };
}

function publish(snapshots: Snapshots, all: readonly Workload[]): void {
  const next = snapshots.revision + 1;
  for (const w of all) {
    const aliases = w.addresses.map((ip) => networkAddress(w.network, ip));
    snapshots.type(addressType)?.put(next, w.uid, encodeWorkload(w), aliases);
  }
  snapshots.revision = next;
}

const ms = (work: () => void): number => {
  const began = performance.now();
  work();
  return performance.now() - began;
};

/** Lets one stream say everything it has to say; each response is acknowledged at once. */
function drain(server: DeltaServerState, snapshots: Snapshots): number {
  let resources = 0;
  for (;;) {
    const r = server.next(snapshots);
    if (r === undefined || r === 'resync') return resources;
    resources += r.resources?.length ?? 0;
    server.hear(request(r.typeUrl ?? '', r.nonce ?? ''), snapshots);
  }
}

const request = (typeUrl: string, responseNonce = ''): Parameters<DeltaServerState['hear']>[0] => ({
  typeUrl,
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce,
});

/** Milliseconds of each turn of the event loop while a proxy takes the snapshot in. */
function takeIn(snapshots: Snapshots): number[] {
  const feed = new MeshFeed(silentLog);
  const staged = feed.stage();
  const entries = [...(snapshots.type(addressType)?.entries() ?? [])];
  const turns: number[] = [];
  for (let at = 0; at < entries.length; at += slice) {
    turns.push(
      ms(() => {
        for (const e of entries.slice(at, at + slice)) {
          const r = decodeAddress(e.bytes);
          if (!r.ok || r.value.kind !== 'workload') continue;
          feed.prepare(staged, r.value);
        }
      }),
    );
  }
  turns.push(ms(() => feed.apply({ staged })));
  return turns;
}

export function* cases(filter = ''): IterableIterator<Result> {
  if (!'push'.includes(filter) && !filter.includes('push')) return;
  const snapshots = new Snapshots([addressType, authorizationType]);
  const all = Array.from({ length: workloads }, (_, i) => workload(i));
  yield { name: `push/encode/${workloads}`, unit: 'ms', value: ms(() => publish(snapshots, all)) };

  const servers = Array.from({ length: streams }, (_, i) => new DeltaServerState(`s${i}`));
  for (const s of servers) {
    s.hear(request(addressType), snapshots);
    s.hear(request(authorizationType), snapshots);
  }
  const each = servers.map((s) => ms(() => drain(s, snapshots)));
  yield {
    name: `push/full-sync/${streams}x${workloads}`,
    unit: 'ms',
    value: each.reduce((a, b) => a + b, 0),
    more: { longestStream: longest(each) },
  };

  const changes = Array.from({ length: 20 }, (_, i) =>
    ms(() => {
      publish(snapshots, [workload(i, 'Unhealthy')]);
      for (const s of servers) drain(s, snapshots);
    }),
  );
  yield {
    name: `push/one-change/${streams}`,
    unit: 'ms',
    value: changes.reduce((a, b) => a + b, 0) / changes.length,
    more: { longest: longest(changes) },
  };

  takeIn(snapshots);
  const turns = takeIn(snapshots);
  yield {
    name: `push/proxy-pause/${workloads}`,
    unit: 'ms',
    value: longest(turns),
    more: { apply: turns.at(-1) ?? 0, total: turns.reduce((a, b) => a + b, 0) },
  };
}
