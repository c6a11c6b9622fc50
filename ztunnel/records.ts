// Evidence: what became of each connection, kept for the last 1,000 and served by the admin port. Both
// ends of a connection carry the same trace id (design.md 8, sandbox.md D12).
import type { FaultCode } from '../core/base/index.ts';

export interface RecordEnd {
  /** `ip:port`. */
  readonly addr: string;
  readonly workload?: string;
  readonly namespace?: string;
  readonly identity?: string;
}

export interface PeerEvidence {
  readonly id: string;
  readonly serial: string;
  readonly notAfter: string;
  readonly chain: readonly {
    readonly serial: string;
    readonly notBefore: string;
    readonly notAfter: string;
    readonly id?: string;
  }[];
}

export interface ConnectionRecord {
  /** 32 hex digits; the same at both ends of a tunnelled connection. */
  readonly trace: string;
  readonly direction: 'outbound' | 'inbound';
  /** Uid of the pod this proxy spoke for. */
  readonly pod: string;
  readonly protocol: 'HBONE' | 'TCP';
  /** `live` while it runs, `ok` = ended in order. */
  readonly state: 'live' | 'ok' | 'refused' | 'failed';
  readonly startedAt: string;
  readonly durationMs: number;
  readonly source: RecordEnd;
  readonly destination: RecordEnd & { readonly hboneAddr?: string; readonly service?: string };
  readonly tls?: { readonly version: string; readonly cipher: string; readonly alpn: string };
  /** The other end of the TLS connection. */
  readonly peer?: PeerEvidence;
  /** Our own certificate on it. */
  readonly local?: { readonly id: string; readonly serial: string };
  /** Outbound: whether an existing tunnel was used. */
  readonly reused?: boolean;
  readonly reason?: FaultCode;
  /** `namespace/name` of the policy that decided. */
  readonly policy?: string;
  /** Who said no: the peer (by its CONNECT answer) or this proxy. */
  readonly refusedBy?: 'peer' | 'self';
  readonly status?: number;
  readonly detail?: string;
  /** Client → server and server → client payload. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export class Ring<T> {
  readonly #items: T[] = [];
  readonly #size: number;
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  push(item: T): void {
    this.#items[this.#next] = item;
    this.#next = (this.#next + 1) % this.#size;
  }

  /** Newest first. */
  recent(): T[] {
    const old = this.#items.slice(this.#next);
    return [...old, ...this.#items.slice(0, this.#next)].toReversed();
  }
}
