// One attempt at an endpoint over HTTP/1.1 or HTTP/2, on connections kept per endpoint inside tunnels.
import http from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import {
  type Cancellation,
  type Clock,
  fromUnknown,
  type IpPort,
  type Log,
} from '../../core/base/index.ts';
import type { HeaderList, RequestHead, ResponseHead } from '../http/exchange.ts';
import { fromHttp2, fromRaw, toHttp2, toRaw } from '../http/headers.ts';
import { innerConnectionWindow, innerWindow } from '../limits.ts';
import { type OpenSockets, TunnelSocket } from '../tunnel-socket.ts';
import type { Breaker } from '../balance/breaker.ts';
import type { Cluster } from '../l7/cluster.ts';
import { defaultIdleMs, TunnelAgent } from './agent.ts';
import { type Attempted, UpstreamFailure } from './attempt.ts';
import { begin, boundTo, idleMsOf } from './begin.ts';
import type { AttemptBody } from './body.ts';
import { keepAlive } from './http2-keepalive.ts';
import { callersName, serverNameFor } from './outside.ts';
import type { Endpoint, Tunnels } from './tunnels.ts';

export interface AttemptRequest {
  readonly endpoint: Endpoint;
  readonly cluster: Cluster;
  readonly breaker: Breaker;
  readonly protocol: 'http' | 'http2';
  readonly head: RequestHead;
  readonly body: AttemptBody;
  readonly trailers: () => HeaderList;
  readonly client: IpPort;
  /** Where the caller wanted to go. */
  readonly target?: IpPort | undefined;
  readonly serviceHost: string;
  readonly traceparent: string;
  readonly stop: Cancellation;
  readonly inform: (head: ResponseHead) => void;
}

/** Connections to names that callers choose, of one cluster; more are opened to names that have one already. */
const maxNamed = 1_024;
/** Methods that may be sent twice (RFC 9110 9.2.2). */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
const maxResponseHeaders = 100;

/** Who was proven by other roots or names is not taken for who is meant now. */
const keyOf = (r: AttemptRequest): string => {
  const { cluster, endpoint: e, head } = r;
  const tls = `${serverNameFor(cluster, head.authority)}|${cluster.policy.tls?.id ?? ''}`;
  return `${cluster.key}|${e.workload.uid}|${e.address}|${e.port}|${tls}|${boundTo(r)}`;
};

interface Session {
  readonly session: ClientHttp2Session;
  active: number;
  /** Taken, and of these sent. */
  uses: number;
  sent: number;
  usable: boolean;
}

/** At once, so that nobody else counts on the same room. */
function take(held: Session, { cluster: { policy } }: AttemptRequest): Session {
  held.active++;
  held.uses++;
  if (policy.maxUses > 0 && held.uses >= policy.maxUses) held.usable = false;
  return held;
}

export class Upstreams {
  readonly tunnels: Tunnels;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sockets: OpenSockets;
  readonly #agent: TunnelAgent;
  readonly #sessions = new Map<string, Session[]>();
  readonly #dialling = new Map<string, Promise<Session>>();
  /** Who waits for a connection of a key, over the limit of connections. */
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(o: { tunnels: Tunnels; sockets: OpenSockets; clock: Clock; log: Log }) {
    const { tunnels, clock, log } = o;
    this.#sockets = o.sockets;
    this.#clock = clock;
    this.#agent = new TunnelAgent(clock, (key) => this.#wake(key));
    this.tunnels = tunnels;
    this.#log = log;
  }

  /** Rejects with UpstreamFailure. */
  attempt(r: AttemptRequest): Promise<Attempted> {
    return r.protocol === 'http2' && r.head.upgrade === undefined
      ? this.#attempt2(r)
      : this.#attempt1(r);
  }

  destroy(): void {
    this.#agent.destroy();
    for (const list of this.#sessions.values()) for (const s of list) s.session.destroy();
    this.#sessions.clear();
    this.tunnels.pool.destroy();
  }

  async #open(r: AttemptRequest): Promise<TunnelSocket> {
    // Counted from here on: who comes meanwhile finds it made or waits for it.
    const release = r.breaker.hold('connections');
    const over = (): void => {
      release();
      this.#wake(keyOf(r));
    };
    try {
      const { connectTimeoutMs, connection } = r.cluster.policy;
      const { keepalive } = connection;
      // The connection outlives the request that asked for it: the request's end does not cut it.
      const { stream } = await this.tunnels.open({ ...r, connectTimeoutMs, keepalive });
      const alpn = r.protocol === 'http2' ? ['h2'] : ['http/1.1'];
      const inner = await begin(stream, r, r.head.authority, alpn, this.#clock);
      return this.#sockets.add(new TunnelSocket(inner)).once('close', over);
    } catch (error) {
      over();
      throw error;
    }
  }

  /** One of those who wait: there is room for one. */
  #wake(key: string): void {
    const [go] = this.#waiting.get(key) ?? [];
    go?.();
  }

  /**
   * Waits while the cluster has all the connections it may have and this endpoint has one of them (a pool may always
   * have one). `free` = a connection has room now. Gives the end of being pending; throws overflow. At once where
   * nothing is waited for, so that nobody else counts on the same room.
   */
  #admit(
    r: AttemptRequest,
    key: string,
    free: () => boolean,
    held: () => boolean,
  ): (() => void) | Promise<() => void> {
    const rules = r.cluster.policy.breaker;
    if (free()) return () => {};
    const pending = r.breaker.take('pending', rules);
    if (!pending) throw new UpstreamFailure('overflow');
    if (callersName(r.cluster) && !held() && r.breaker.count('connections') >= maxNamed) {
      pending();
      throw new UpstreamFailure('overflow');
    }
    const full = (): boolean =>
      rules.maxConnections > 0 && r.breaker.count('connections') >= rules.maxConnections;
    const must = (): boolean => full() && held() && !free() && !r.stop.aborted;
    return must() ? this.#wait(r, key, must).then(() => pending) : pending;
  }

  async #wait({ stop }: AttemptRequest, key: string, must: () => boolean): Promise<void> {
    while (must()) {
      await new Promise<void>((resolve) => {
        const list = this.#waiting.get(key) ?? new Set<() => void>();
        const go = (): void => {
          leave();
          list.delete(go);
          if (list.size === 0) this.#waiting.delete(key);
          resolve();
        };
        const leave = stop.onAbort(go);
        this.#waiting.set(key, list.add(go));
      });
    }
  }

  // --- HTTP/1.1

  async #attempt1(r: AttemptRequest): Promise<Attempted> {
    const key = keyOf(r);
    const free = (): boolean => this.#agent.hasFree(key);
    const admitted = this.#admit(r, key, free, () => this.#agent.hasBusy(key));
    const pending = admitted instanceof Promise ? await admitted : admitted;
    if (r.stop.aborted) {
      pending();
      this.#wake(key);
      throw failureOf(r.stop.reason, false, r.stop);
    }
    return new Promise((resolve, reject) => {
      let connected = false;
      const { maxUses, connection } = r.cluster.policy;
      const idleMs = idleMsOf(r.cluster);
      const given = (): void => {
        pending();
        connected = true;
      };
      // Node copies the options twice: what they need not carry is with the agent.
      const request = http.request({
        agent: this.#agent.for(key, {
          open: () => this.#open(r),
          given,
          maxUses,
          idleMs,
          maxAgeMs: connection.maxAgeMs,
        }),
        method: r.head.method,
        path: `${r.head.path}${r.head.query}`,
        headers: toRaw(r.head),
        maxHeaderSize: 80 * 1024,
      });
      request.maxHeadersCount = maxResponseHeaders + 1;
      const failed = (error: Error): void => {
        pending();
        settle();
        r.body.detach(request);
        const failure = failureOf(error, connected, r.stop);
        const stale = failure.kind === 'termination' && request.reusedSocket;
        const again = stale && repeatable.has(r.head.method);
        reject(again ? new UpstreamFailure('stale', failure.fault) : failure);
      };
      const settle = r.stop.onAbort((reason) => {
        request.destroy(reason);
        // Node tells of it no sooner than there is a connection.
        if (!connected) failed(reason);
      });
      request.on('error', failed);
      request.on('information', (info) => {
        r.inform({ status: info.statusCode, headers: fromRaw(info.rawHeaders).headers });
      });
      request.on('upgrade', (response, socket, head) => {
        settle();
        const abort = (): void => void socket.destroy();
        if (r.head.upgrade === undefined) {
          abort();
          r.body.detach(request);
          return reject(new UpstreamFailure('protocol'));
        }
        if (head.length > 0) socket.unshift(head);
        resolve({ ...answer1(response), switched: socket, abort });
      });
      request.on('response', (response) => {
        response.on('close', settle);
        if (response.rawHeaders.length / 2 > maxResponseHeaders) {
          request.destroy();
          reject(new UpstreamFailure('protocol'));
          return;
        }
        resolve(answer1(response));
      });
      r.body.attach(request);
    });
  }

  // --- HTTP/2

  async #attempt2(r: AttemptRequest): Promise<Attempted> {
    const held = await this.#session(r).catch((error: unknown) => {
      throw failureOf(error, false, r.stop);
    });
    const { maxUses } = r.cluster.policy;
    return new Promise((resolve, reject) => {
      const stream = held.session.request(toHttp2(r.head), {
        endStream: r.body.isEmpty,
        waitForTrailers: !r.body.isEmpty,
      });
      held.sent++;
      if (maxUses > 0 && held.sent >= maxUses) held.session.close();
      let trailers: HeaderList = [];
      let failure: Error | undefined;
      const abort = (): void => stream.close(http2.constants.NGHTTP2_CANCEL);
      const settle = r.stop.onAbort(abort);
      stream.on('close', () => {
        held.active--;
        this.#wake(keyOf(r));
        settle();
        r.body.detach(stream);
        reject(streamFailure(stream.rstCode ?? 0, failure, r.stop));
      });
      stream.on('error', (error) => {
        failure ??= error;
      });
      stream.on('wantTrailers', () => sendTrailers(stream, r.trailers()));
      stream.on('headers', (headers) => {
        r.inform({ status: Number(headers[':status'] ?? 100), headers: fromHttp2(headers) });
      });
      stream.on('trailers', (headers) => {
        trailers = fromHttp2(headers);
      });
      stream.on('response', (headers, flags) => {
        const head = { status: Number(headers[':status'] ?? 502), headers: fromHttp2(headers) };
        resolve({
          head,
          body: stream,
          ended: (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0,
          trailers: () => trailers,
          abort,
        });
      });
      if (!r.body.isEmpty) r.body.attach(stream);
    });
  }

  async #session(r: AttemptRequest): Promise<Session> {
    const key = keyOf(r);
    const room = (): Session | undefined =>
      this.#sessions
        .get(key)
        ?.find((s) => s.usable && s.active < r.cluster.policy.connection.maxStreams);
    const free = (): boolean => room() !== undefined;
    for (;;) {
      const pending = await this.#admit(r, key, free, () => this.#sessions.has(key));
      try {
        const others = this.#dialling.get(key);
        const found =
          room() ?? (others ? undefined : await r.stop.until(this.#dialSession(r, key)));
        if (found) {
          take(found, r);
          if (room()) this.#wake(key);
          return found;
        }
        // Who dials has what came of it; who waited asks again to be let in.
        if (others) await r.stop.until(others);
      } finally {
        pending();
      }
    }
  }

  #dialSession(r: AttemptRequest, key: string): Promise<Session> {
    const running = this.#openSession(r, key).finally(() => this.#dialling.delete(key));
    this.#dialling.set(key, running);
    return running;
  }

  async #openSession(r: AttemptRequest, key: string): Promise<Session> {
    const socket = await this.#open(r);
    const session = http2.connect('http://upstream', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: innerWindow, maxHeaderListSize: 60 * 1024 },
      maxHeaderListPairs: maxResponseHeaders + 8,
    });
    const held: Session = { session, active: 0, uses: 0, sent: 0, usable: true };
    const gone = (): void => {
      held.usable = false;
      const left = (this.#sessions.get(key) ?? []).filter((s) => s !== held);
      if (left.length > 0) this.#sessions.set(key, left);
      else this.#sessions.delete(key);
    };
    session.on('error', (error) => this.#log.debug('upstream connection failed', { error }));
    session.once('connect', () => session.setLocalWindowSize(innerConnectionWindow));
    session.on('goaway', gone);
    session.on('close', gone);
    socket.on('close', () => session.destroy());
    session.setTimeout(idleMsOf(r.cluster) || defaultIdleMs, () => {
      // A request that waits in silence is no idleness.
      if (held.active > 0) return;
      gone();
      session.close();
    });
    const { ping, maxAgeMs } = r.cluster.policy.connection;
    if (ping) keepAlive(session, ping, this.#clock);
    if (maxAgeMs > 0) {
      const old = this.#clock.after(maxAgeMs, () => {
        gone();
        session.close();
      });
      session.once('close', () => old.cancel());
    }
    this.#sessions.set(key, [...(this.#sessions.get(key) ?? []), held]);
    return held;
  }
}

function sendTrailers(stream: http2.ClientHttp2Stream, trailers: HeaderList): void {
  try {
    const fields = Object.create(null) as Record<string, string>;
    for (const [name, value] of trailers) fields[name] = value;
    stream.sendTrailers(fields);
  } catch {
    stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  }
}

function answer1(response: http.IncomingMessage): Attempted {
  const { headers } = fromRaw(response.rawHeaders);
  return {
    head: { status: response.statusCode ?? 502, headers },
    body: response,
    // Dropped, as HTTP/1.1 hops do (8.8).
    trailers: () => [],
    abort: () => void response.destroy(),
  };
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

function failureOf(error: unknown, connected: boolean, stop: Cancellation): UpstreamFailure {
  if (stop.aborted) {
    return stop.reason instanceof UpstreamFailure ? stop.reason : new UpstreamFailure('gone');
  }
  if (error instanceof UpstreamFailure) return error;
  const fault = fromUnknown(error, 'INTERNAL');
  if (!connected) {
    const late = fault.code === 'DIAL_TIMEOUT' || fault.code === 'HBONE_TIMEOUT';
    return new UpstreamFailure(late ? 'timeout' : 'connect', fault);
  }
  return new UpstreamFailure(codeOf(error).startsWith('HPE_') ? 'protocol' : 'termination', fault);
}

function streamFailure(
  code: number,
  error: Error | undefined,
  stop: Cancellation,
): UpstreamFailure {
  if (stop.aborted) return failureOf(error, true, stop);
  if (code === http2.constants.NGHTTP2_REFUSED_STREAM) return new UpstreamFailure('refused-stream');
  if (codeOf(error) === 'ERR_HTTP2_GOAWAY_SESSION') return new UpstreamFailure('refused-stream');
  if (code === http2.constants.NGHTTP2_PROTOCOL_ERROR) return new UpstreamFailure('protocol');
  const known = code === http2.constants.NGHTTP2_NO_ERROR ? 'termination' : 'reset';
  return new UpstreamFailure(known, error && fromUnknown(error, 'PEER_RESET'));
}
