// Joins two Duplexes until both directions are done: back-pressure, half-close both ways, byte counts,
// which side failed. An end stays an end and a reset stays a reset (ztunnel-protocol.md 2.6).
import { constants, type Http2Stream } from 'node:http2';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { H2Stream } from './h2/index.ts';

export interface PumpEnd {
  /** Absent = both halves ended in order. */
  readonly failed?: 'near' | 'far' | 'us';
  readonly error?: Error;
  /** HTTP/2 code with which the failed side was reset. */
  readonly code?: number;
}

export interface PumpCounts {
  /** Bytes read from near and written to far. */
  nearToFar: number;
  farToNear: number;
}

export interface Pump {
  readonly counts: Readonly<PumpCounts>;
  /** Never rejects. */
  readonly done: Promise<PumpEnd>;
  /** Cuts both sides with a reset: policy change, revocation, end of drain. */
  abort(error: Error, code?: number): void;
}

const isHttp2 = (stream: Duplex): stream is Http2Stream => 'rstCode' in stream;

/**
 * What a policy cut looks like to the peer: RFC 9113 has no better code, and the dialling side can tell it
 * from an application's own reset.
 */
export const policyResetCode = constants.NGHTTP2_INADEQUATE_SECURITY;

/** The abrupt end of either kind of stream; never an orderly one (sandbox.md D13). */
export function resetStream(stream: Duplex, code: number = constants.NGHTTP2_CANCEL): void {
  if (stream.destroyed) return;
  if (stream instanceof H2Stream) stream.reset(code);
  else if (isHttp2(stream)) abandon(stream, code);
  else if (stream instanceof Socket && !isEnding(stream)) stream.resetAndDestroy();
  else stream.destroy();
}

/**
 * A reset while the end is being written fails with EINVAL in libuv, and Node then neither closes the socket
 * nor says so.
 */
const isEnding = (socket: Socket): boolean => socket.writableEnded && !socket.writableFinished;

/**
 * RST_STREAM alone. `close` also ends the writable side, which would send END_STREAM first and look to the
 * peer like an orderly end; without `_final` it cannot.
 */
function abandon(stream: Http2Stream, code: number): void {
  if (!stream.writableEnded) stream._final = (done) => done();
  stream.close(code);
}

export function pump(near: Duplex, far: Duplex): Pump {
  const counts: PumpCounts = { nearToFar: 0, farToNear: 0 };
  let finish: (end: PumpEnd) => void = () => {};
  const done = new Promise<PumpEnd>((resolve) => {
    finish = resolve;
  });
  let over = false;
  let open = 2;
  const end = (result: PumpEnd): void => {
    if (over) return;
    over = true;
    if (result.failed) {
      resetStream(near, result.code);
      resetStream(far, result.code);
    }
    finish(result);
  };
  const halfDone = (): void => {
    if (--open === 0) end({});
  };
  const fail = (failed: 'near' | 'far') => (error: Error | undefined, code: number | undefined) =>
    end({
      failed,
      error: error ?? new Error('closed before its end'),
      ...(code !== undefined && { code }),
    });
  flow(near, far, (n) => (counts.nearToFar += n), halfDone);
  flow(far, near, (n) => (counts.farToNear += n), halfDone);
  const left = (other: Duplex) => () => {
    if (over) return;
    end({});
    endSoon(other);
  };
  watch(near, { failed: fail('near'), left: left(far) });
  watch(far, { failed: fail('far'), left: left(near) });
  if (near.destroyed) fail('near')(undefined, undefined);
  else if (far.destroyed) fail('far')(undefined, undefined);
  return {
    counts,
    done,
    abort: (error, code) => end({ failed: 'us', error, ...(code !== undefined && { code }) }),
  };
}

/** One direction: chunks of one tick leave in one write (performance.md 2). */
function flow(from: Duplex, to: Duplex, count: (bytes: number) => void, done: () => void): void {
  let corked = false;
  const uncork = (): void => {
    corked = false;
    to.uncork();
  };
  const resume = (): void => void from.resume();
  from.on('data', (chunk: Buffer) => {
    if (to.destroyed || to.writableEnded) return;
    if (!corked) {
      corked = true;
      to.cork();
      process.nextTick(uncork);
    }
    count(chunk.length);
    if (!to.write(chunk)) {
      from.pause();
      to.once('drain', resume);
    }
  });
  let half = false;
  const finished = (): void => {
    if (half) return;
    half = true;
    done();
  };
  const ended = (): void => {
    // Node ends a reset HTTP/2 stream before closing it; that is no half-close.
    if (isReset(from)) return;
    if (to.writableFinished || to.destroyed) finished();
    else to.end(finished);
  };
  // A stream whose END_STREAM came at once has ended before anybody could listen.
  if (from.readableEnded) ended();
  else from.on('end', ended);
  // Captured sockets arrive paused; a data listener alone would not start them.
  from.resume();
}

const isReset = (stream: Duplex): boolean =>
  isHttp2(stream) && (stream.rstCode ?? 0) !== constants.NGHTTP2_NO_ERROR;

interface Early {
  readonly failed: (error: Error | undefined, code: number | undefined) => void;
  /** Reset with NO_ERROR: the peer has had enough. An end, though nothing can be written any more. */
  readonly left: () => void;
}

/** Reports an end that came before both halves were done. */
function watch(stream: Duplex, early: Early): void {
  let first: Error | undefined;
  stream.on('error', (error: Error) => {
    first ??= error;
  });
  stream.on('close', () => {
    if (!isHttp2(stream)) {
      if (!stream.readableEnded || !stream.writableFinished || first)
        early.failed(first, undefined);
    } else if (first || isReset(stream)) early.failed(first, stream.rstCode);
    else early.left();
  });
}

/** Lets what was written out, then closes. */
function endSoon(stream: Duplex): void {
  if (stream.destroyed) return;
  stream.resume();
  if (stream.writableFinished) stream.destroy();
  else stream.end(() => stream.destroy());
}
