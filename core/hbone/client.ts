// The dialling end of HBONE: HTTP/2 over a secured stream, one CONNECT per user connection.
import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { type Clock, type Log, MeshError, printable } from '../base/index.ts';
import { type Headers, headerText, reasonHeader } from './headers.ts';
import { keepAlive } from './keepalive.ts';
import { defaultLimits, type HboneLimits } from './limits.ts';
import { resetStream } from './pump.ts';

/** What became of a CONNECT. */
export type Connected =
  | { readonly kind: 'open'; readonly stream: Duplex; readonly headers: Headers }
  | {
      readonly kind: 'refused';
      readonly status: number;
      /** The peer's `x-ambient-reason`, raw. */
      readonly reason: string | undefined;
    }
  /** The peer did not process it (GOAWAY or REFUSED_STREAM): another connection may be tried. */
  | { readonly kind: 'unprocessed' };

export interface HboneClientOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<HboneLimits>;
}

export interface HboneClient {
  /** Takes new streams: no GOAWAY seen, not closed. */
  readonly usable: boolean;
  readonly active: number;
  readonly closed: Promise<void>;
  /** Called when `usable` turns false, and whenever a stream ends. */
  onChange(listener: () => void): void;
  /** Rejects with MeshError H2_FAILED if the connection fails first, or the signal's reason. */
  connect(headers: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Connected>;
  /** Ends when the last stream does. */
  close(): void;
  destroy(): void;
}

/** HTTP/2 with prior knowledge on `stream`; returns at once, the first CONNECT tells whether it works. */
export function openHbone(stream: Duplex, options: HboneClientOptions): HboneClient {
  const limits = { ...defaultLimits, ...options.limits };
  const { clock, log } = options;
  const session = http2.connect('http://hbone', {
    createConnection: () => stream,
    settings: {
      enablePush: false,
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxHeaderListSize: 16 * 1024,
    },
    maxSessionMemory: limits.maxSessionMemory,
    maxHeaderListPairs: 256,
  });
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const l of listeners) l();
  };
  let goneAway = false;
  const streams = new Set<ClientHttp2Stream>();
  session.on('error', (error) => log.debug('hbone connection failed', { error }));
  session.on('goaway', () => {
    goneAway = true;
    changed();
  });
  whenConnected(session, () => session.setLocalWindowSize(limits.connectionWindow));
  // Streams first, or they would end as if in order; the stream below last, because a peer that does not
  // read would hold the connection's end back.
  const kill = (): void => {
    for (const s of streams) resetStream(s);
    session.destroy();
    stream.destroy();
  };
  // HTTP/2 has no half-close of the connection; Node leaves it open on a half-open socket.
  stream.on('end', kill);
  const stop = keepAlive(session, limits, clock, () => {
    log.warn('hbone peer does not answer', {});
    kill();
  });
  const closed = new Promise<void>((resolve) => {
    session.on('close', () => {
      goneAway = true;
      stop();
      stream.destroy();
      changed();
      resolve();
    });
  });
  return {
    get usable() {
      return !goneAway && !session.closed && !session.destroyed;
    },
    get active() {
      return streams.size;
    },
    closed,
    onChange: (listener) => void listeners.add(listener),
    connect(headers, signal) {
      if (session.closed || session.destroyed) return Promise.resolve({ kind: 'unprocessed' });
      const request = session.request(headers, { endStream: false });
      streams.add(request);
      request.on('close', () => {
        streams.delete(request);
        changed();
      });
      return answer(request, signal);
    },
    close: () => session.close(),
    destroy: kill,
  };
}

function whenConnected(session: ClientHttp2Session, work: () => void): void {
  if (session.connecting) session.once('connect', work);
  else work();
}

function answer(stream: ClientHttp2Stream, signal: AbortSignal | undefined): Promise<Connected> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const abort = (): void => {
      resetStream(stream);
      reject(signal?.reason instanceof Error ? signal.reason : new MeshError('DIAL_TIMEOUT'));
    };
    stream.on('error', (error) => {
      failure ??= error;
    });
    stream.once('response', (headers: IncomingHttpHeaders & { ':status'?: number }) => {
      signal?.removeEventListener('abort', abort);
      const status = headers[':status'] ?? 0;
      if (status === 200) {
        resolve({ kind: 'open', stream, headers });
        return;
      }
      stream.resume();
      stream.end();
      stream.close(constants.NGHTTP2_NO_ERROR);
      resolve({ kind: 'refused', status, reason: headerText(headers, reasonHeader) });
    });
    stream.once('close', () => {
      signal?.removeEventListener('abort', abort);
      if (unprocessed(stream, failure)) resolve({ kind: 'unprocessed' });
      else
        reject(new MeshError('H2_FAILED', { detail: describe(stream, failure), cause: failure }));
    });
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

const codeOf = (error: Error | undefined): string =>
  error && 'code' in error && typeof error.code === 'string' ? error.code : '';

function unprocessed(stream: ClientHttp2Stream, failure: Error | undefined): boolean {
  return (
    stream.rstCode === constants.NGHTTP2_REFUSED_STREAM ||
    codeOf(failure) === 'ERR_HTTP2_GOAWAY_SESSION'
  );
}

function describe(stream: ClientHttp2Stream, failure: Error | undefined): string {
  if (failure) return printable(codeOf(failure) || failure.message);
  return `the stream ended with code ${stream.rstCode} before an answer`;
}
