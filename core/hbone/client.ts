// The dialling end of HBONE: HTTP/2 over a secured stream, one CONNECT per user connection.
import type { Duplex } from 'node:stream';
import { type Clock, type Log, MeshError, printable } from '../base/index.ts';
import { code, H2Session, type H2Stream } from './h2/index.ts';
import { type Headers, headerText, reasonHeader } from './headers.ts';
import { keepAlive } from './keepalive.ts';
import { defaultLimits, type HboneLimits } from './limits.ts';

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
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const l of listeners) l();
  };
  const streams = new Set<H2Stream>();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const session = new H2Session(stream, {
    role: 'client',
    clock,
    limits,
    onGoaway: changed,
    onClose(error) {
      if (error) log.debug('hbone connection failed', { error });
      stop();
      changed();
      resolve();
    },
  });
  const stop = keepAlive(session, limits, clock, () => {
    log.warn('hbone peer does not answer', {});
    session.destroy();
  });
  return {
    get usable() {
      return session.usable;
    },
    get active() {
      return streams.size;
    },
    closed,
    onChange: (listener) => void listeners.add(listener),
    connect(headers, signal) {
      return new Promise((settle, fail) => {
        const answer = newAnswer(signal, settle, fail);
        const request = session.request(Object.entries(headers), answer);
        if (!request) {
          settle({ kind: 'unprocessed' });
          return;
        }
        streams.add(request);
        request.on('close', () => {
          streams.delete(request);
          changed();
        });
        answer.begin(request);
      });
    },
    close: () => session.close(),
    destroy: () => session.destroy(),
  };
}

/** Waits for the answer of one request, its end, or the signal, whichever comes first. */
function newAnswer(
  signal: AbortSignal | undefined,
  resolve: (answer: Connected) => void,
  reject: (error: Error) => void,
): { headers(fields: Headers): void; begin(stream: H2Stream): void } {
  let stream: H2Stream | undefined;
  let failure: Error | undefined;
  const abort = (): void => {
    stream?.reset(code.cancel);
    reject(signal?.reason instanceof Error ? signal.reason : new MeshError('DIAL_TIMEOUT'));
  };
  return {
    headers(fields) {
      signal?.removeEventListener('abort', abort);
      if (!stream) return;
      const status = Number(headerText(fields, ':status') ?? 0);
      if (status === 200) resolve({ kind: 'open', stream, headers: fields });
      else {
        giveUp(stream);
        resolve({ kind: 'refused', status, reason: headerText(fields, reasonHeader) });
      }
    },
    begin(request) {
      stream = request;
      request.on('error', (error) => {
        failure ??= error;
      });
      request.once('close', () => {
        signal?.removeEventListener('abort', abort);
        if (request.rstCode === code.refusedStream) resolve({ kind: 'unprocessed' });
        else {
          const detail = failure?.message ?? `the stream ended with code ${request.rstCode}`;
          reject(new MeshError('H2_FAILED', { detail: printable(detail), cause: failure }));
        }
      });
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort, { once: true });
    },
  };
}

/** Ends our side of a refused request; one that the peer has not ended is reset. */
function giveUp(stream: H2Stream): void {
  stream.resume();
  process.nextTick(() => {
    if (stream.remoteEnd) stream.end();
    else stream.reset(code.cancel);
  });
}
