// What this end writes: frames, gathered so that what one tick writes leaves in one write.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/index.ts';
import type { HboneLimits } from '../limits.ts';
import {
  clientPreface,
  flag,
  frameHead,
  frameType,
  numbersFrame,
  setting,
  settingsFrame,
} from './frames.ts';
import { encodeHeaders, type HeaderField } from './hpack.ts';

/** How long what was written may take to leave after the end. */
const flushLimitMs = 1_000;

export class Wire {
  readonly #stream: Duplex;
  #corked = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
  }

  /** The connection below takes no more for now; it will emit `drain`. */
  get blocked(): boolean {
    return this.#stream.writableNeedDrain;
  }

  write(bytes: Buffer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    stream.write(bytes);
  }

  /** Preface and SETTINGS. */
  greet(role: 'client' | 'server', limits: HboneLimits): void {
    if (role === 'client') this.write(clientPreface);
    this.write(
      settingsFrame([
        role === 'client'
          ? [setting.enablePush, 0]
          : [setting.maxConcurrentStreams, limits.maxStreams],
        [setting.initialWindowSize, limits.streamWindow],
        [setting.maxFrameSize, limits.maxFrameSize],
        [setting.maxHeaderListSize, limits.maxHeaderBytes],
      ]),
    );
  }

  headers(id: number, fields: Iterable<HeaderField>, end: boolean, maxFrame: number): void {
    const block = encodeHeaders(fields);
    for (let at = 0; at === 0 || at < block.length; at += maxFrame) {
      const part = block.subarray(at, at + maxFrame);
      const last = at + maxFrame >= block.length ? flag.endHeaders : 0;
      const type = at === 0 ? frameType.headers : frameType.continuation;
      const flags = last | (at === 0 && end ? flag.endStream : 0);
      this.write(Buffer.concat([frameHead(part.length, type, flags, id), part]));
    }
  }

  endStream(id: number): void {
    this.write(frameHead(0, frameType.data, flag.endStream, id));
  }

  resetStream(id: number, errorCode: number): void {
    this.write(numbersFrame(frameType.rstStream, id, errorCode));
  }

  goaway(lastId: number, errorCode: number): void {
    this.write(numbersFrame(frameType.goaway, 0, lastId, errorCode));
  }

  ping(number: number): void {
    this.write(numbersFrame(frameType.ping, 0, 0, number));
  }

  answerPing(payload: Buffer): void {
    this.write(Buffer.concat([frameHead(8, frameType.ping, flag.ack, 0), payload]));
  }

  answerSettings(): void {
    this.write(frameHead(0, frameType.settings, flag.ack, 0));
  }

  /** Lets what was written out, within a limit, then closes. */
  end(clock: Clock): void {
    const stream = this.#stream;
    if (stream.destroyed) return;
    const timer = clock.after(flushLimitMs, () => stream.destroy());
    stream.once('close', () => timer.cancel());
    stream.end(() => stream.destroy());
  }
}
