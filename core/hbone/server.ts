// The accepting end of HBONE: HTTP/2 over a stream that is already secured, handing each CONNECT to its
// owner. Nothing is answered until the owner says so; DATA waits inside the stream's window (C9).
import type { Duplex } from 'node:stream';
import type { Clock, Log } from '../base/index.ts';
import { code, H2Session, type H2Stream } from './h2/index.ts';
import { type Headers, headerText } from './headers.ts';
import { keepAlive } from './keepalive.ts';
import { defaultLimits, type HboneLimits } from './limits.ts';

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

/** Serves HTTP/2 with prior knowledge on `stream`. */
export function serveHbone(stream: Duplex, options: HboneServerOptions): HboneServer {
  const limits = { ...defaultLimits, ...options.limits };
  const { clock, log } = options;
  const streams = new Set<H2Stream>();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const session = new H2Session(stream, {
    role: 'server',
    clock,
    limits,
    onRequest(s, headers) {
      s.on('error', (error) => log.debug('hbone stream failed', { error }));
      streams.add(s);
      s.on('close', () => streams.delete(s));
      try {
        options.onConnect(incoming(session, s, headers));
      } catch (error) {
        log.error('hbone request failed', { error });
        s.reset(code.internalError);
      }
    },
    onSettings: () => silence.cancel(),
    onClose(error) {
      if (error) log.debug('hbone connection failed', { error });
      silence.cancel();
      stop();
      resolve();
    },
  });
  const kill = (): void => session.destroy();
  const silence = clock.after(limits.prefaceMs, kill);
  const stop = keepAlive(session, limits, clock, kill);
  return {
    get active() {
      return streams.size;
    },
    closed,
    drain: () => drain(session),
    destroy: kill,
  };
}

function incoming(session: H2Session, stream: H2Stream, headers: Headers): Incoming {
  return {
    method: headerText(headers, ':method') ?? '',
    authority: headerText(headers, ':authority') ?? '',
    headers,
    stream,
    accept(extra) {
      session.respond(stream, [[':status', '200'], ...Object.entries(extra)], false);
      return stream;
    },
    refuse(status, extra) {
      session.respond(stream, [[':status', String(status)], ...Object.entries(extra)], true);
    },
  };
}

/**
 * Two steps, so that no request is lost in between: a GOAWAY that refuses nothing yet, and the final one
 * after the peer has proven by a PING that it knows.
 */
function drain(session: H2Session): void {
  if (session.over) return;
  session.announceLeave();
  session.ping(() => session.close());
}
