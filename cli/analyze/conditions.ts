// What controllers have written into statuses, and kinds that nobody reads. Pure.
import { field, list, text } from '../../istiod-lite/index.ts';
import type { Path, Say, Snapshot } from './snapshot.ts';

/** Conditions that say something is wrong when they are False, or True for one of the reasons below. */
const watched: ReadonlySet<string> = new Set([
  'istio.io/WaypointBound',
  'ZtunnelAccepted',
  'WaypointAccepted',
  'ambientlite.dev/Accepted',
  'Accepted',
  'Programmed',
  'ResolvedRefs',
]);
const onlyInPart: ReadonlySet<string> = new Set(['PartiallyInvalid', 'UnsupportedValue']);
/** Conditions that say something is wrong when they are True. */
const faults: ReadonlySet<string> = new Set(['PartiallyInvalid', 'Conflicted']);

/** Kinds whose conditions are the mesh's business, and the lists in their statuses that have conditions of their own. */
const kinds: Readonly<Record<string, readonly (string | undefined)[]>> = {
  Service: [undefined],
  ServiceEntry: [undefined],
  WorkloadEntry: [undefined],
  AuthorizationPolicy: [undefined],
  PeerAuthentication: [undefined],
  RequestAuthentication: [undefined],
  DestinationRule: [undefined],
  VirtualService: [undefined],
  Gateway: [undefined, 'listeners'],
  GatewayClass: [undefined],
  HTTPRoute: ['parents'],
  GRPCRoute: ['parents'],
  TCPRoute: ['parents'],
  TLSRoute: ['parents'],
  BackendTLSPolicy: ['ancestors'],
  XBackendTrafficPolicy: ['ancestors'],
};

function negative(c: unknown): string | undefined {
  const of = (name: string): string => text(field(c, name));
  const [type, status, reason] = [of('type'), of('status'), of('reason')];
  const said =
    (watched.has(type) && (status === 'False' || onlyInPart.has(reason))) ||
    (faults.has(type) && status === 'True');
  if (!said) return undefined;
  return `a condition is negative: type=${type}, reason=${reason}, message=${of('message')}`;
}

/** Each list of conditions in a status, with its place. */
function* conditionsIn(status: unknown, within: string | undefined): Generator<[Path, unknown]> {
  if (within === undefined) return yield [['status'], status];
  for (const [i, part] of list(field(status, within)).entries())
    yield [['status', within, i], part];
}

export function checkConditions(s: Snapshot, say: Say): void {
  for (const [kind, places] of Object.entries(kinds)) {
    for (const o of s.of(kind)) {
      for (const [at, part] of places.flatMap((p) => [...conditionsIn(o['status'], p)])) {
        for (const [i, c] of list(field(part, 'conditions')).entries()) {
          const words = negative(c);
          if (words !== undefined) say('IST0171', o, [...at, 'conditions', i], words);
        }
      }
    }
  }
}

const ineffective: readonly [string, string][] = [
  ['EnvoyFilter', 'no proxy of this mesh is Envoy'],
  ['WasmPlugin', 'waypoints run no Wasm'],
  ['ProxyConfig', 'it configures sidecars'],
  [
    'Sidecar',
    'there are no sidecars; use namespaces and AuthorizationPolicy to narrow who may talk',
  ],
  ['WorkloadGroup', 'machines outside of the cluster are not enrolled; write a WorkloadEntry'],
];

export function checkKinds(s: Snapshot, say: Say): void {
  for (const [kind, why] of ineffective)
    for (const o of s.of(kind)) say('AMB0501', o, [], `${kind} has no effect: ${why}`);
}
