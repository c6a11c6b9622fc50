// What proxies answer to probes and about connections: the fields that `verify` reads. Pure.
import type { Leg, Peer } from './verdict.ts';

interface RawPeer {
  readonly id: string;
  readonly serial: string;
  readonly notAfter: string;
  readonly chain: Peer['chain'];
}

interface Proven {
  readonly ok: boolean;
  readonly protocol?: 'HBONE' | 'TCP';
  readonly tls?: Leg['tls'];
  readonly peer?: RawPeer;
  readonly local?: { readonly id: string; readonly serial: string };
  readonly reason?: string;
  readonly policy?: string;
  readonly detail?: string;
}

/** What was on the wire during a probe, or why nobody looked. */
export type Wire =
  | {
      readonly packets: number;
      readonly tls: number;
      /** Absent = an older proxy, which did not look. */
      readonly plain?: number;
      readonly readable: boolean;
    }
  | { readonly notSeen: string };

/** Something on the wire could be read: whatever the proxies say they negotiated, it was not all encrypted. */
export const wireLeaks = (wire: Wire | undefined): boolean =>
  wire !== undefined && !('notSeen' in wire) && (wire.readable || (wire.plain ?? 0) > 0);

export function wireText(wire: Wire): string {
  if ('notSeen' in wire) return `packets were not looked at: ${wire.notSeen}`;
  const { packets, tls, plain = 0, readable } = wire;
  if (packets === 0 && !readable) return 'no packet with a payload was on the pod’s link';
  const mark = readable ? 'the trace id could be read in them' : 'nothing of the trace id in them';
  const bare =
    plain === 0
      ? ''
      : `; ${plain} of the connections did not begin with a TLS handshake: PLAINTEXT`;
  return `${packets} packets with a payload on the pod’s link, ${tls} of them beginning with a TLS record, ${mark}${bare}`;
}

/** `POST /ambient/probe` of a ztunnel. */
export interface Answer extends Proven {
  readonly served: boolean;
  readonly wire?: Wire;
  readonly plan?: {
    readonly dial?: string;
    readonly authority?: string;
    readonly via?: 'workload' | 'waypoint';
    readonly service?: string;
    readonly destination?: {
      readonly uid: string;
      readonly name: string;
      readonly namespace: string;
    };
  };
}

/** `POST /ambient/probe` of a waypoint. */
export interface SecondAnswer extends Proven {
  /** The rule of a route that chose the endpoint. */
  readonly route?: string;
  /** The endpoint's own `ip:port`. */
  readonly dial?: string;
  readonly endpoint?: { readonly uid: string; readonly name: string; readonly namespace: string };
}

/** A record of `/ambient/connections`. */
export interface Inbound {
  readonly direction: string;
  readonly source?: { readonly addr?: string };
  readonly destination?: { readonly addr?: string };
  readonly peer?: RawPeer;
  readonly policy?: string;
  readonly reason?: string;
  readonly state: string;
}

export const inboundOf = (records: unknown): Inbound | undefined =>
  (records as Inbound[]).find((r) => r.direction === 'inbound');

export function legOf(from: string, to: string, a: Proven): Leg {
  const { protocol = 'TCP', tls, peer, local } = a;
  return {
    from,
    to,
    protocol,
    tls,
    peer: peer && {
      identity: peer.id,
      serial: peer.serial,
      notAfter: peer.notAfter,
      chain: peer.chain,
    },
    local: local && { identity: local.id, serial: local.serial },
  };
}
