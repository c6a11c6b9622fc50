// What one try at an endpoint gives: an answer, or how it failed, in the words of waypoint-l7.md 8.7.
import type { Duplex, Readable } from 'node:stream';
import type { MeshError } from '../../core/base/index.ts';
import type { HeaderList, ResponseHead } from '../http/exchange.ts';

export interface Attempted {
  readonly head: ResponseHead;
  readonly body: Readable;
  /** After the body has ended. */
  trailers(): HeaderList;
  /** The head was all of it. */
  readonly ended?: boolean;
  /** The raw stream of an upgrade that was taken. */
  readonly switched?: Duplex;
  /** No more of it is wanted. */
  abort(): void;
}

export type FailureKind =
  /** Nothing was sent. */
  | 'connect'
  | 'refused-stream'
  /** The connection ended before an answer. */
  | 'termination'
  /** It ended as a kept connection was taken up again, for a request that may be repeated. */
  | 'stale'
  | 'reset'
  | 'protocol'
  | 'timeout'
  | 'overflow'
  /** The caller has left. */
  | 'gone';

const texts: Readonly<Record<FailureKind, string>> = {
  connect: 'remote connection failure',
  'refused-stream': 'remote refused stream reset',
  termination: 'connection termination',
  stale: 'connection termination',
  reset: 'remote reset',
  protocol: 'protocol error',
  timeout: 'connection timeout',
  overflow: 'overflow',
  gone: 'local reset',
};

const flags: Readonly<Record<FailureKind, string>> = {
  connect: 'UF',
  'refused-stream': 'UR',
  termination: 'UC',
  stale: 'UC',
  reset: 'UR',
  protocol: 'UPE',
  timeout: 'UF',
  overflow: 'UO',
  gone: 'DC',
};

export class UpstreamFailure extends Error {
  readonly kind: FailureKind;
  readonly fault: MeshError | undefined;

  constructor(kind: FailureKind, fault?: MeshError) {
    super(texts[kind], { cause: fault });
    this.name = 'UpstreamFailure';
    this.kind = kind;
    this.fault = fault;
  }

  get flag(): string {
    return flags[this.kind];
  }
}
