// What controllers have written into statuses, and kinds that nobody reads. Pure.
import { field, list, readConditions, text } from '../../istiod-lite/index.ts';
import type { Path, Say, Snapshot } from './snapshot.ts';

/** Conditions that say something is wrong when they are False. */
const watched: ReadonlySet<string> = new Set([
  'istio.io/WaypointBound',
  'ZtunnelAccepted',
  'WaypointAccepted',
  'ambientlite.dev/Accepted',
  'Accepted',
  'Programmed',
  'ResolvedRefs',
]);
/** Kinds whose conditions are the mesh's business. */
const kinds = [
  'Service',
  'ServiceEntry',
  'WorkloadEntry',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
  'Gateway',
  'GatewayClass',
];
/** Kinds that have one list of conditions for each of several others. */
const perOther: readonly (readonly [string, 'parents' | 'ancestors'])[] = [
  ['HTTPRoute', 'parents'],
  ['GRPCRoute', 'parents'],
  ['TCPRoute', 'parents'],
  ['TLSRoute', 'parents'],
  ['BackendTLSPolicy', 'ancestors'],
  ['XBackendTrafficPolicy', 'ancestors'],
];

interface Found {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

const isNegative = (c: Found): boolean =>
  watched.has(c.type) && (c.status === 'False' || c.reason === 'PartiallyInvalid');

const words = (c: Found): string =>
  `a condition is negative: type=${c.type}, reason=${c.reason}, message=${c.message}`;

export function checkConditions(s: Snapshot, say: Say): void {
  for (const kind of kinds) {
    for (const o of s.of(kind)) {
      for (const [i, c] of readConditions(o).entries())
        if (isNegative(c)) say('IST0171', o, ['status', 'conditions', i], words(c));
    }
  }
  for (const [kind, others] of perOther) {
    for (const o of s.of(kind)) {
      for (const [p, parent] of list(field(o['status'], others)).entries()) {
        const path: Path = ['status', others, p, 'conditions'];
        for (const [i, c] of list(field(parent, 'conditions')).entries()) {
          const found: Found = {
            type: text(field(c, 'type')),
            status: text(field(c, 'status')),
            reason: text(field(c, 'reason')),
            message: text(field(c, 'message')),
          };
          if (isNegative(found)) say('IST0171', o, [...path, i], words(found));
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
