// The accepting end of HBONE: HTTP/2 over a stream that is already secured, handing each CONNECT to its
// owner. Nothing is answered until the owner says so; DATA waits inside the stream's window (C9).
import http2, { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Clock, Log } from '../base/index.ts';
import type { Headers } from './headers.ts';
import { keepAlive } from './keepalive.ts';
import { defaultLimits, type HboneLimits } from './limits.ts';
import { resetStream } from './pump.ts';

/** One request on a tunnel; exactly one of `accept` and `refuse` answers it. */
export interface Incoming {
  readonly method: string;
  /** Raw `:authority`; empty if there is none. */
  readonly authority: string;
  readonly headers: Headers;
  readonly stream: Duplex;
  /** Answers 200 and gives the stream. */
  accept(headers: Readonly<Record<string, string>>): Duplex;
  /** Answers with a status and nothing else; what the peer has sent is thrown away. */
  refuse(status: number, headers: Readonly<Record<string, string>>): void;
}

export interface HboneServerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<HboneLimits>;
  readonly onConnect: (incoming: Incoming) => void;
}

export interface HboneServer {
  /** Streams open now. */
  readonly active: number;
  readonly closed: Promise<void>;
  /** GOAWAY; streams that run may end. */
  drain(): void;
  /** Ends everything now. */
  destroy(): void;
}

const unlimitedId = 2 ** 31 - 1;

/** Serves HTTP/2 with prior knowledge on `stream`. */
export function serveHbone(stream: Duplex, options: HboneServerOptions): HboneServer {
  const limits = { ...defaultLimits, ...options.limits };
  const { clock, log } = options;
  const session = http2.performServerHandshake(stream, {
    settings: {
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxConcurrentStreams: limits.maxStreams,
      maxHeaderListSize: limits.maxHeaderBytes,
      enablePush: false,
    },
    maxSessionMemory: limits.maxSessionMemory,
    maxHeaderListPairs: 256,
    streamResetBurst: limits.resetBurst,
    streamResetRate: limits.resetRate,
  });
  const streams = new Set<ServerHttp2Stream>();
  session.on('error', (error) => log.debug('hbone connection failed', { error }));
  session.on('stream', (s: ServerHttp2Stream, headers) => {
    s.on('error', (error) => log.debug('hbone stream failed', { error }));
    streams.add(s);
    s.on('close', () => streams.delete(s));
    try {
      options.onConnect(incoming(s, headers));
    } catch (error) {
      log.error('hbone request failed', { error });
      s.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  });
  session.setLocalWindowSize(limits.connectionWindow);
  // Streams first, or they would end as if in order; the stream below last, because a peer that does not
  // read would hold the connection's end back.
  const kill = (): void => {
    for (const s of streams) resetStream(s);
    session.destroy();
    stream.destroy();
  };
  // HTTP/2 has no half-close of the connection; Node leaves it open on a half-open socket.
  stream.on('end', kill);
  const stops = [
    keepAlive(session, limits, clock, kill),
    cutSilent(session, limits.prefaceMs, clock, kill),
  ];
  const closed = new Promise<void>((resolve) => {
    session.on('close', () => {
      for (const stop of stops) stop();
      stream.destroy();
      resolve();
    });
  });
  return {
    get active() {
      return streams.size;
    },
    closed,
    drain: () => drain(session),
    destroy: kill,
  };
}

function incoming(stream: ServerHttp2Stream, headers: Headers): Incoming {
  const text = (name: string): string => {
    const value = headers[name];
    return typeof value === 'string' ? value : '';
  };
  return {
    method: text(':method'),
    authority: text(':authority'),
    headers,
    stream,
    accept(extra) {
      if (!stream.destroyed) stream.respond({ ':status': 200, ...extra });
      return stream;
    },
    refuse(status, extra) {
      if (stream.destroyed || stream.headersSent) return;
      stream.respond({ ':status': status, ...extra }, { endStream: true });
      stream.resume();
      stream.close(constants.NGHTTP2_NO_ERROR);
    },
  };
}

/**
 * Two steps, so that no request is lost in between: a GOAWAY that refuses nothing yet, and the final one
 * after the peer has proven by a PING that it knows.
 */
function drain(session: ServerHttp2Session): void {
  if (session.closed || session.destroyed) return;
  session.goaway(constants.NGHTTP2_NO_ERROR, unlimitedId);
  const sent = session.ping(() => {
    if (!session.destroyed) session.close();
  });
  if (!sent) session.close();
}

function cutSilent(
  session: ServerHttp2Session,
  ms: number,
  clock: Clock,
  kill: () => void,
): () => void {
  const timer = clock.after(ms, kill);
  session.once('remoteSettings', () => timer.cancel());
  return () => timer.cancel();
}
