// Inbound connections under policy: registered before the first check and judged again on every change of
// the mesh, so that no connection is ever both open and unchecked (ztunnel-protocol.md 4.4, P8).
import { type IpPort, MeshError, parseIpBytes } from '../core/base/index.ts';
import {
  Admission,
  type ChangeSet,
  type Identity,
  type MeshView,
  type SpiffeId,
  type Verdict,
  type WorkloadUid,
} from '../core/model/index.ts';

export interface InboundPeer {
  readonly source: IpPort;
  /** Proven by TLS; absent = plaintext. */
  readonly principal: SpiffeId | undefined;
  readonly identity: Identity | undefined;
  /** Shown in the dump; never judged. */
  readonly forwardedHost?: string | undefined;
}

/** A registered connection. `cut` runs when it is no longer allowed. */
export interface Guard {
  readonly signal: AbortSignal;
  release(): void;
}

interface Handle {
  readonly abort: AbortController;
  readonly source: IpPort;
  readonly target: IpPort;
  readonly forwardedHost: string | undefined;
}

/** A live inbound connection as the dump shows it. */
export interface LiveInbound {
  readonly source: IpPort;
  readonly target: IpPort;
  readonly forwardedHost: string | undefined;
  readonly principal: string | undefined;
}

export class Connections {
  readonly #admission: Admission<Handle>;

  constructor(view: MeshView) {
    this.#admission = new Admission(view);
  }

  /** Registers and judges in one tick; a refusal is the MeshError to answer with. */
  admit(
    workload: WorkloadUid,
    peer: InboundPeer,
    target: IpPort,
  ): { ok: true; guard: Guard } | { ok: false; error: MeshError } {
    const { source, forwardedHost } = peer;
    const handle: Handle = { abort: new AbortController(), source, target, forwardedHost };
    const connection = rbacOf(peer, target);
    const { verdict, ticket } = this.#admission.admit(workload, connection, handle);
    if (!verdict.allow) return { ok: false, error: denial(verdict) };
    const release = (): void => this.#admission.release(ticket);
    return { ok: true, guard: { signal: handle.abort.signal, release } };
  }

  /** The decision alone, for probes. */
  judge(workload: WorkloadUid, peer: InboundPeer, target: IpPort): Verdict {
    return this.#admission.judge(workload, rbacOf(peer, target));
  }

  changed(change: ChangeSet): void {
    for (const { ticket, verdict } of this.#admission.rejudge(change)) {
      const policy = verdict.by;
      const detail = 'connection closed due to policy change';
      ticket.handle.abort.abort(
        new MeshError('POLICY_CHANGED', { detail, ...(policy !== undefined && { policy }) }),
      );
    }
  }

  get size(): number {
    return this.#admission.size;
  }

  of(workload: WorkloadUid): LiveInbound[] {
    const out: LiveInbound[] = [];
    for (const { workload: w, handle, connection } of this.#admission.live()) {
      if (w !== workload) continue;
      const { source, target, forwardedHost } = handle;
      out.push({ source, target, forwardedHost, principal: connection.principal });
    }
    return out;
  }
}

const none = new Uint8Array();

function rbacOf(peer: InboundPeer, target: IpPort) {
  return {
    principal: peer.principal,
    identity: peer.identity,
    sourceIp: parseIpBytes(peer.source.ip) ?? none,
    destinationIp: parseIpBytes(target.ip) ?? none,
    destinationPort: target.port,
  };
}

export function denial(verdict: Extract<Verdict, { allow: false }>): MeshError {
  return new MeshError(verdict.code, { ...(verdict.by !== undefined && { policy: verdict.by }) });
}
