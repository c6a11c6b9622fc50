// HTTP/1.1 connections to endpoints, kept between requests. While one rests, whatever its peer does ends it: an end
// means that the endpoint no longer listens (and would answer the next request with a reset that no half-closed
// socket reports), bytes mean an answer nobody asked for (waypoint-l7.md 8.9).
import http from 'node:http';
import type { Duplex } from 'node:stream';
import { type Clock, fromUnknown, type Timer } from '../../core/base/index.ts';
import type { TunnelSocket } from '../tunnel-socket.ts';

export interface AgentOptions extends http.RequestOptions {
  readonly key?: string;
  readonly open?: () => Promise<TunnelSocket>;
  /** Requests one connection may carry; 0 = any number. */
  readonly maxUses?: number;
  readonly idleMs?: number;
}

const maxFree = 64;
export const defaultIdleMs = 3_600_000;

interface Kept {
  uses: number;
  readonly maxUses: number;
  readonly idleMs: number;
  timer: Timer | undefined;
}

/** Connections by key; each is made by the request that needs one. */
export class TunnelAgent extends http.Agent {
  readonly #clock: Clock;
  readonly #kept = new WeakMap<Duplex, Kept>();

  constructor(clock: Clock) {
    // A timeout of Node's own is never set; it is how an endpoint's `keep-alive: timeout=…` reaches `setTimeout`.
    super({ keepAlive: true, maxFreeSockets: maxFree, scheduling: 'lifo', timeout: defaultIdleMs });
    this.#clock = clock;
  }

  override getName(options?: AgentOptions): string {
    return options?.key ?? '';
  }

  override createConnection(
    options: http.ClientRequestArgs,
    done?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const { open, maxUses = 0, idleMs = defaultIdleMs } = options as AgentOptions;
    if (!open || !done) return undefined;
    open().then(
      (stream) => {
        const kept: Kept = { uses: 1, maxUses, idleMs: idleMs || defaultIdleMs, timer: undefined };
        this.#kept.set(stream, kept);
        stream.once('close', () => kept.timer?.cancel());
        done(null, stream);
      },
      (error: unknown) => done(fromUnknown(error), undefined as unknown as Duplex),
    );
    return undefined;
  }

  /** Called when a request is over; false = the connection is closed. */
  override keepSocketAlive(socket: Duplex): boolean {
    const stream = socket as TunnelSocket;
    const kept = this.#kept.get(stream);
    const may = super.keepSocketAlive(stream as never) as unknown as boolean;
    if (!kept || !may || (kept.maxUses > 0 && kept.uses >= kept.maxUses)) return false;
    if (!stream.rest()) return false;
    const ms = Math.min(kept.idleMs, stream.timeout || defaultIdleMs);
    kept.timer = this.#clock.after(ms, () => stream.destroy());
    return true;
  }

  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    const stream = socket as TunnelSocket;
    const kept = this.#kept.get(stream);
    if (kept) {
      kept.uses++;
      kept.timer?.cancel();
      kept.timer = undefined;
    }
    stream.wake();
    super.reuseSocket(stream as never, request);
  }
}
