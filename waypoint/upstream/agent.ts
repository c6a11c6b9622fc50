// HTTP/1.1 connections to endpoints, kept between requests. While one rests, whatever its peer does ends it: an end
// means that the endpoint no longer listens (and would answer the next request with a reset that no half-closed
// socket reports), bytes mean an answer nobody asked for (waypoint-l7.md 8.9).
//
// Node's http.Agent does the same from objects that it copies for each request; what it keeps was more to pay for than
// what the request itself costs. Only the contract between ClientRequest and its agent is used: `addRequest` answers
// with `onSocket`, and the socket tells `free`, `agentRemove` and `close`.
import http from 'node:http';
import { type Clock, fromUnknown, type Timer } from '../../core/base/index.ts';
import type { TunnelSocket } from '../tunnel-socket.ts';

/** What one request wants of the connections to its endpoint. */
export interface Wanted {
  readonly open: () => Promise<TunnelSocket>;
  /** It has its connection. */
  readonly given: () => void;
  /** Requests one connection may carry; 0 = any number. */
  readonly maxUses: number;
  /** 0 = the default, an hour. */
  readonly idleMs: number;
  /** A connection that old takes no more requests; 0 = any age. */
  readonly maxAgeMs: number;
}

/** At rest, for each endpoint. */
const maxFree = 64;
export const defaultIdleMs = 3_600_000;
/** A connection is given up this long before the endpoint said it would. */
const hintMarginMs = 1_000;

interface Kept {
  readonly lane: Lane;
  readonly socket: TunnelSocket;
  uses: number;
  readonly maxUses: number;
  readonly idleMs: number;
  /** On the monotonic clock. */
  readonly untilMs: number;
  timer: Timer | undefined;
  request: http.ClientRequest | undefined;
}

/** A ClientRequest calls `onSocket` (Node's own name); types do not tell of it. */
type Waiting = http.ClientRequest & { onSocket(socket: TunnelSocket | null, error?: Error): void };
type Answered = http.ClientRequest & { readonly res?: http.IncomingMessage | null };

/** How long an endpoint keeps a connection at rest (`keep-alive: timeout=5`); `undefined` = it did not say. */
function restHintMs(rawHeaders: readonly string[]): number | undefined {
  const at = rawHeaders.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'keep-alive');
  const seconds = at < 0 ? undefined : /^timeout=(\d{1,7})/.exec(rawHeaders[at + 1] ?? '')?.[1];
  return seconds === undefined ? undefined : Math.max(0, Number(seconds) * 1000 - hintMarginMs);
}

/** Connections to one endpoint under one set of rules. */
class Lane {
  readonly free: Kept[] = [];
  busy = 0;
  dialling = 0;
  readonly all = new Set<Kept>();
}

function start(kept: Kept, request: Waiting, wanted: Wanted): void {
  kept.uses++;
  kept.request = request;
  kept.lane.busy++;
  wanted.given();
  request.onSocket(kept.socket);
}

/** Connections by key; each is made by the request that needs one. */
export class TunnelAgent {
  readonly #clock: Clock;
  readonly #lanes = new Map<string, Lane>();
  readonly #onFree: (key: string) => void;

  /** `onFree`: a connection of this key has room again. */
  constructor(clock: Clock, onFree: (key: string) => void) {
    this.#clock = clock;
    this.#onFree = onFree;
  }

  hasFree(key: string): boolean {
    return (this.#lanes.get(key)?.free.length ?? 0) > 0;
  }

  /** Whether a request runs on a connection of this key, or one is being made. */
  hasBusy(key: string): boolean {
    const lane = this.#lanes.get(key);
    return lane !== undefined && lane.busy + lane.dialling > 0;
  }

  /** The agent of one request. */
  for(key: string, wanted: Wanted): http.Agent {
    const agent = {
      protocol: 'http:',
      defaultPort: 80,
      keepAlive: true,
      addRequest: (request: Waiting) => this.#give(request, key, wanted),
    };
    return agent as unknown as http.Agent;
  }

  destroy(): void {
    for (const lane of this.#lanes.values()) for (const kept of lane.all) kept.socket.destroy();
  }

  #give(request: Waiting, key: string, wanted: Wanted): void {
    const lane = this.#lanes.get(key) ?? new Lane();
    for (let kept = lane.free.pop(); kept; kept = lane.free.pop()) {
      if (kept.socket.destroyed) continue;
      kept.timer?.cancel();
      kept.timer = undefined;
      kept.socket.wake();
      request.reusedSocket = true;
      start(kept, request, wanted);
      return;
    }
    this.#lanes.set(key, lane);
    lane.dialling++;
    wanted.open().then(
      (socket) => {
        lane.dialling--;
        start(this.#keep(socket, lane, key, wanted), request, wanted);
      },
      (error: unknown) => {
        lane.dialling--;
        this.#drop(lane, key);
        request.onSocket(null, fromUnknown(error));
      },
    );
  }

  #drop(lane: Lane, key: string): void {
    if (lane.all.size === 0 && lane.dialling === 0) this.#lanes.delete(key);
  }

  #keep(
    socket: TunnelSocket,
    lane: Lane,
    key: string,
    { maxUses, idleMs, maxAgeMs }: Wanted,
  ): Kept {
    const kept: Kept = {
      lane,
      socket,
      uses: 0,
      maxUses,
      idleMs: idleMs || defaultIdleMs,
      untilMs: maxAgeMs > 0 ? this.#clock.monotonic() + maxAgeMs : Number.POSITIVE_INFINITY,
      timer: undefined,
      request: undefined,
    };
    lane.all.add(kept);
    const leave = (): void => {
      if (!lane.all.delete(kept)) return;
      kept.timer?.cancel();
      if (kept.request) lane.busy--;
      kept.request = undefined;
      const at = lane.free.indexOf(kept);
      if (at >= 0) lane.free.splice(at, 1);
      this.#drop(lane, key);
    };
    socket.on('free', () => this.#rest(kept, key));
    socket.once('close', leave);
    // An upgrade: it is the caller's now.
    socket.once('agentRemove', leave);
    return kept;
  }

  /** A request is over; the connection rests, or is closed. */
  #rest(kept: Kept, key: string): void {
    const { lane, socket, request } = kept;
    if (!request) return void socket.destroy();
    const hint = restHintMs((request as Answered).res?.rawHeaders ?? []);
    const left = kept.untilMs - this.#clock.monotonic();
    const worn = (kept.maxUses > 0 && kept.uses >= kept.maxUses) || left <= 0;
    const full = lane.free.length >= maxFree;
    if (!request.shouldKeepAlive || !socket.writable || worn || full || hint === 0) {
      return void socket.destroy();
    }
    if (!socket.rest()) return void socket.destroy();
    socket._httpMessage = null;
    kept.request = undefined;
    lane.busy--;
    lane.free.push(kept);
    const ms = Math.min(kept.idleMs, hint ?? defaultIdleMs, left);
    kept.timer = this.#clock.after(ms, () => socket.destroy());
    this.#onFree(key);
  }
}
