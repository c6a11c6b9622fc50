// The client's half of delta xDS without IO: what we hold, what to ask on a new stream, what to answer
// to a response (ztunnel-protocol.md 7.3). The shell decodes and applies; this only keeps the books.
import type { RequestOf } from '../rpc/index.ts';
import type { Draft } from '../rpc/index.ts';

export type DeltaRequest = Draft<RequestOf<'deltaAggregatedResources'>>;

/** What became of one response's resources. */
export interface Settled {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly accepted: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly string[];
  readonly rejected: readonly { readonly name: string; readonly reason: string }[];
}

interface TypeState {
  readonly held: Map<string, string>;
  synced: boolean;
}

export class DeltaClientState {
  readonly #types = new Map<string, TypeState>();

  /** Types in the order they are asked for. */
  constructor(typeUrls: readonly string[]) {
    for (const t of typeUrls) this.#types.set(t, { held: new Map(), synced: false });
  }

  /** The first requests of a new stream: wildcard, with everything held named (7.3.1). */
  open(node: DeltaRequest['node']): DeltaRequest[] {
    return [...this.#types].map(([typeUrl, t]) => ({
      node,
      typeUrl,
      initialResourceVersions: Object.fromEntries(t.held),
    }));
  }

  knows(typeUrl: string): boolean {
    return this.#types.has(typeUrl);
  }

  /**
   * Records what was applied. Good resources count even if others were refused; a refused one keeps its
   * former version, so the server sends it again after a reconnect (7.3.4). Answers with ACK or NACK.
   */
  settle(s: Settled): DeltaRequest {
    const type = this.#types.get(s.typeUrl);
    for (const r of s.accepted) type?.held.set(r.name, r.version);
    for (const name of s.removed) type?.held.delete(name);
    if (type && s.rejected.length === 0) type.synced = true;
    const answer = { typeUrl: s.typeUrl, responseNonce: s.nonce };
    if (s.rejected.length === 0) return answer;
    const message = s.rejected.map((r) => `${r.name}: ${r.reason}`).join('; ');
    return { ...answer, errorDetail: { message } };
  }

  /** True once every type has had an accepted response (7.3.6). */
  get synced(): boolean {
    return [...this.#types.values()].every((t) => t.synced);
  }

  held(typeUrl: string): ReadonlyMap<string, string> {
    return this.#types.get(typeUrl)?.held ?? new Map();
  }
}
