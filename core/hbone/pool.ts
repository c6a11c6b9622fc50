// The tunnels of one pod: pool-state.ts carried out with a `dial` given by the owner. A peer is a value
// that says everything about how to reach it, and its key is the whole value, so nothing outside the key
// can leak between users of a tunnel (style-models.md practice 7).
import { type Clock, fromUnknown, MeshError, type Timer } from '../base/index.ts';
import type { Connected, HboneClient } from './client.ts';
import {
  type PoolAction,
  type PoolEvent,
  type PoolLimits,
  PoolState,
  type TicketId,
  type TunnelId,
} from './pool-state.ts';

/** What a dial gives: the tunnel and facts about it that its users want to show. */
export interface Dialled<Facts> {
  readonly client: HboneClient;
  readonly facts: Facts;
}

export interface PoolOptions<Peer, Facts> {
  readonly clock: Clock;
  /** Equal text = equal peer. */
  readonly keyOf: (peer: Peer) => string;
  /** Rejects with a MeshError that says which step failed. */
  readonly dial: (peer: Peer) => Promise<Dialled<Facts>>;
  readonly limits?: PoolLimits;
}

export interface PoolAnswer<Facts> {
  readonly answer: Exclude<Connected, { kind: 'unprocessed' }>;
  readonly facts: Facts;
  readonly reused: boolean;
}

interface Held<Peer, Facts> extends Dialled<Facts> {
  readonly peer: Peer;
}

interface Ticket<Peer, Facts> {
  readonly done: (given: { id: TunnelId; held: Held<Peer, Facts>; reused: boolean }) => void;
  readonly failed: (error: Error) => void;
}

export class Pool<Peer, Facts> {
  readonly #options: PoolOptions<Peer, Facts>;
  readonly #state: PoolState;
  readonly #tunnels = new Map<TunnelId, Held<Peer, Facts>>();
  readonly #tickets = new Map<TicketId, Ticket<Peer, Facts>>();
  /** Peers being dialled or held, by key. */
  readonly #peers = new Map<string, Peer>();
  #timer: Timer | undefined;
  #wakeMs = 0;
  #last = 0;
  #closed = false;

  constructor(options: PoolOptions<Peer, Facts>) {
    this.#options = options;
    this.#state = new PoolState(options.limits);
  }

  /** Tunnels held now. */
  get size(): number {
    return this.#state.tunnels;
  }

  tunnels(): { readonly peer: Peer; readonly facts: Facts; readonly active: number }[] {
    return [...this.#tunnels.values()].map(({ peer, facts, client }) => ({
      peer,
      facts,
      active: client.active,
    }));
  }

  /**
   * A CONNECT on a tunnel to `peer`. A tunnel that went away before the request was processed is replaced
   * once: nothing had been sent onward. Rejects with MeshError.
   */
  async connect(
    peer: Peer,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<PoolAnswer<Facts>> {
    for (let attempt = 0; attempt < 3; attempt++) {
      const { id, held, reused } = await this.#take(peer, signal);
      const answer = await this.#request(id, held, headers, signal);
      if (answer.kind === 'unprocessed') continue;
      return { answer, facts: held.facts, reused };
    }
    throw new MeshError('H2_FAILED', { detail: 'the peer keeps going away' });
  }

  /** Drops tunnels to peers for which `gone` says so; running streams may end. */
  evict(gone: (peer: Peer) => boolean): void {
    const keys = [...this.#peers].filter(([, peer]) => gone(peer)).map(([key]) => key);
    if (keys.length > 0) this.#step({ kind: 'evict', keys });
  }

  /** Cuts tunnels whose facts say so (revocation), with every stream on them. */
  cut(bad: (facts: Facts) => boolean): number {
    const hit = [...this.#tunnels.values()].filter((t) => bad(t.facts));
    for (const t of hit) t.client.destroy();
    return hit.length;
  }

  /** No new streams; tunnels end with their last stream. */
  drain(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const t of this.#tickets.values()) t.failed(new MeshError('POOL_CLOSED'));
    this.#tickets.clear();
    for (const t of this.#tunnels.values()) t.client.close();
  }

  destroy(): void {
    this.drain();
    for (const t of this.#tunnels.values()) t.client.destroy();
    this.#tunnels.clear();
  }

  async #request(
    id: TunnelId,
    held: Held<Peer, Facts>,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<Connected> {
    const release = (): void => this.#step({ kind: 'released', tunnel: id });
    try {
      const answer = await held.client.connect(headers, signal);
      if (answer.kind === 'unprocessed') this.#step({ kind: 'gone', tunnel: id });
      if (answer.kind === 'open') answer.stream.once('close', release);
      else release();
      return answer;
    } catch (error) {
      release();
      throw error;
    }
  }

  #take(
    peer: Peer,
    signal: AbortSignal | undefined,
  ): Promise<{ id: TunnelId; held: Held<Peer, Facts>; reused: boolean }> {
    if (this.#closed) return Promise.reject(new MeshError('POOL_CLOSED'));
    const key = this.#options.keyOf(peer);
    this.#peers.set(key, peer);
    const ticket = ++this.#last;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#tickets.delete(ticket);
        this.#step({ kind: 'cancel', key, ticket });
        reject(fromUnknown(signal?.reason, 'DIAL_TIMEOUT'));
      };
      const free = (): void => signal?.removeEventListener('abort', abort);
      this.#tickets.set(ticket, {
        done: (given) => {
          free();
          resolve(given);
        },
        failed: (error) => {
          free();
          reject(error);
        },
      });
      if (signal?.aborted) abort();
      else {
        signal?.addEventListener('abort', abort, { once: true });
        this.#step({ kind: 'take', key, ticket });
      }
    });
  }

  #step(event: PoolEvent): void {
    for (const action of this.#state.step(event, this.#options.clock.monotonic())) {
      this.#perform(action);
    }
  }

  #perform(action: PoolAction): void {
    switch (action.do) {
      case 'dial':
        void this.#dial(action.key);
        break;
      case 'give':
        this.#give(action.ticket, action.tunnel, action.reused);
        break;
      case 'fail':
        for (const ticket of action.tickets) this.#fail(ticket, this.#failure);
        break;
      case 'shed':
        this.#fail(action.ticket, new MeshError('STREAM_LIMIT'));
        break;
      case 'close': {
        const held = this.#tunnels.get(action.tunnel);
        this.#tunnels.delete(action.tunnel);
        held?.client.close();
        this.#prune();
        break;
      }
      case 'wake':
        this.#wake(action.atMs);
        break;
    }
  }

  #failure = new MeshError('DIAL_REFUSED');

  async #dial(key: string): Promise<void> {
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    try {
      const dialled = await this.#options.dial(peer);
      if (this.#closed) {
        dialled.client.destroy();
        return;
      }
      const tunnel = ++this.#last;
      this.#tunnels.set(tunnel, { ...dialled, peer });
      dialled.client.onChange(() => {
        if (!dialled.client.usable) this.#step({ kind: 'gone', tunnel });
      });
      this.#step({ kind: 'dialled', key, tunnel });
    } catch (error) {
      this.#failure = fromUnknown(error, 'DIAL_REFUSED');
      this.#step({ kind: 'dial-failed', key });
      this.#prune();
    }
  }

  #give(ticket: TicketId, id: TunnelId, reused: boolean): void {
    const held = this.#tunnels.get(id);
    const waiter = this.#tickets.get(ticket);
    this.#tickets.delete(ticket);
    if (held && waiter) waiter.done({ id, held, reused });
    else this.#step({ kind: 'released', tunnel: id });
  }

  #fail(ticket: TicketId, error: MeshError): void {
    this.#tickets.get(ticket)?.failed(error);
    this.#tickets.delete(ticket);
  }

  /** The earliest wish counts; the sweep it causes asks for the next one. */
  #wake(atMs: number): void {
    if (this.#closed || (this.#timer && this.#wakeMs <= atMs)) return;
    this.#timer?.cancel();
    this.#wakeMs = atMs;
    this.#timer = this.#options.clock.after(atMs - this.#options.clock.monotonic(), () => {
      this.#timer = undefined;
      this.#step({ kind: 'tick' });
    });
  }

  /** Forgets peers nobody dials or holds, so that the map cannot grow with every pod ever seen. */
  #prune(): void {
    if (this.#peers.size < 2 * this.#state.keys + 16) return;
    for (const key of this.#peers.keys()) if (!this.#state.has(key)) this.#peers.delete(key);
  }
}
