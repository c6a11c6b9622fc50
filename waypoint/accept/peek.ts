// The first bytes of a stream, looked at and put back.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../core/base/index.ts';
import { detect } from './detect.ts';

const maxPeek = 16 * 1024;

/**
 * Looks at the first bytes without taking them. A declared HTTP port waits for as long as it takes and is
 * never opaque; an undeclared one is TCP when nothing comes in time.
 */
export function peek(
  stream: Duplex,
  ms: number,
  clock: Clock,
  detecting: boolean,
): Promise<'http1' | 'http2' | 'tcp' | 'gone'> {
  return new Promise((resolve) => {
    const seen: Buffer[] = [];
    let bytes = 0;
    const end = (found: 'http1' | 'http2' | 'tcp' | 'gone'): void => {
      timer?.cancel();
      stream.off('data', data);
      stream.off('end', ended);
      stream.off('close', closed);
      stream.pause();
      if (seen.length > 0 && !stream.destroyed) stream.unshift(Buffer.concat(seen));
      resolve(found);
    };
    const otherwise = detecting ? 'tcp' : 'http1';
    const data = (chunk: Buffer): void => {
      seen.push(chunk);
      bytes += chunk.length;
      const found = detect(Buffer.concat(seen));
      if (found === 'tcp') end(otherwise);
      else if (found !== 'more') end(found);
      else if (bytes > maxPeek) end(otherwise);
    };
    const ended = (): void => end(seen.length > 0 ? otherwise : detecting ? 'tcp' : 'gone');
    const closed = (): void => end('gone');
    const timer = detecting ? clock.after(ms, () => end('tcp')) : undefined;
    stream.on('data', data);
    stream.on('end', ended);
    stream.on('close', closed);
  });
}
