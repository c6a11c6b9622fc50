// The first bytes of a stream, looked at and put back.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../core/base/index.ts';
import { detect } from './detect.ts';
import { handshakeRecord, serverName } from './sni.ts';

/** How long a TLS client may take to say whom it means. */
export const serverNameMs = 10_000;
/** The name of a server that nobody could learn. */
export const unknown = Symbol('unknown');
const maxPeek = 16 * 1024;
/** A hello in many records has their headers, too. */
const maxHello = 32 * 1024;

interface Look<T> {
  /** What the bytes so far say; `undefined` = more are needed. */
  readonly found: (bytes: Buffer) => T | undefined;
  /** More bytes than this say nothing more. */
  readonly most: number;
  /** The stream ended after so many bytes, or there are too many. */
  readonly otherwise: (bytes: number) => T;
  readonly gone: T;
  readonly late: { readonly ms: number; readonly found: T } | undefined;
}

/** Looks at the first bytes without taking them; the stream is paused then. */
function look<T>(stream: Duplex, clock: Clock, o: Look<T>): Promise<T> {
  return new Promise((resolve) => {
    const seen: Buffer[] = [];
    let bytes = 0;
    const end = (found: T): void => {
      timer?.cancel();
      stream.off('data', data);
      stream.off('end', ended);
      stream.off('close', closed);
      stream.pause();
      if (seen.length > 0 && !stream.destroyed) stream.unshift(Buffer.concat(seen));
      resolve(found);
    };
    const data = (chunk: Buffer): void => {
      seen.push(chunk);
      bytes += chunk.length;
      const found = o.found(Buffer.concat(seen));
      if (found !== undefined) end(found);
      else if (bytes > o.most) end(o.otherwise(bytes));
    };
    const ended = (): void => end(o.otherwise(bytes));
    const closed = (): void => end(o.gone);
    const { late } = o;
    const timer = late && clock.after(late.ms, () => end(late.found));
    stream.on('data', data);
    stream.on('end', ended);
    stream.on('close', closed);
    // A look before this one may have left it at rest.
    stream.resume();
  });
}

/**
 * Which protocol is spoken. A declared HTTP port waits for as long as it takes and is never opaque; an undeclared one
 * is TCP when nothing comes in time.
 */
export function peek(
  stream: Duplex,
  ms: number,
  clock: Clock,
  detecting: boolean,
): Promise<'http1' | 'http2' | 'tcp' | 'gone'> {
  const otherwise = detecting ? 'tcp' : 'http1';
  return look<'http1' | 'http2' | 'tcp' | 'gone'>(stream, clock, {
    found: (bytes) => {
      const found = detect(bytes);
      if (found === 'more') return undefined;
      return found === 'tcp' ? otherwise : found;
    },
    most: maxPeek,
    otherwise: (bytes) => (bytes > 0 ? otherwise : detecting ? 'tcp' : 'gone'),
    gone: 'gone',
    late: detecting ? { ms, found: 'tcp' } : undefined,
  });
}

/**
 * The server name of a TLS client, empty where it sends none or does not speak TLS; `unknown` = nothing came within `ms`, or
 * a hello that cannot be read: it may still mean anybody.
 */
export function peekServerName(
  stream: Duplex,
  ms: number,
  clock: Clock,
): Promise<string | typeof unknown> {
  return look<string | typeof unknown>(stream, clock, {
    found: (bytes) => {
      const said = serverName(bytes);
      if (said.state === 'more') return undefined;
      if (said.state === 'hello') return said.name;
      return bytes[0] === handshakeRecord ? unknown : '';
    },
    most: maxHello,
    otherwise: (bytes) => (bytes > maxHello ? unknown : ''),
    gone: '',
    late: { ms, found: unknown },
  });
}
