// A request body that can be sent again: kept up to a limit while it streams to the attempt in hand, with
// back-pressure to the caller. Past the limit there is no further attempt.
import type { Readable, Writable } from 'node:stream';

export class RequestBody {
  readonly #source: Readable | undefined;
  readonly #limit: number;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #overflow = false;
  #ended = false;
  #sink: Writable | undefined;
  #onEnd: (() => void) | undefined;
  bytes = 0;

  /** `source` absent = no body. */
  constructor(source: Readable | undefined, limit: number) {
    this.#source = source;
    this.#limit = limit;
    if (!source) {
      this.#ended = true;
      return;
    }
    source.on('data', (chunk: Buffer) => this.#take(chunk));
    source.pause();
    source.on('end', () => {
      this.#ended = true;
      this.#finish();
    });
  }

  get isEmpty(): boolean {
    return this.#source === undefined;
  }

  /** The whole request has come in. */
  get complete(): boolean {
    return this.#ended;
  }

  /** Whether another attempt could send all of it. */
  get replayable(): boolean {
    return !this.#overflow;
  }

  #take(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (!this.#overflow && this.#keptBytes + chunk.length <= this.#limit) {
      this.#kept.push(chunk);
      this.#keptBytes += chunk.length;
    } else {
      this.#overflow = true;
      this.#kept = [];
    }
    const sink = this.#sink;
    if (!sink || sink.destroyed) {
      this.#source?.pause();
      return;
    }
    if (!sink.write(chunk)) {
      this.#source?.pause();
      sink.once('drain', () => {
        if (this.#sink === sink) this.#source?.resume();
      });
    }
  }

  #finish(): void {
    const sink = this.#sink;
    if (!sink || sink.destroyed || sink.writableEnded) return;
    this.#onEnd?.();
    sink.end();
  }

  /** Sends what is kept, then what comes. `onEnd` runs before the sink is ended (trailers). */
  attach(sink: Writable, onEnd: () => void = () => {}): void {
    this.#sink = sink;
    this.#onEnd = onEnd;
    for (const chunk of this.#kept) sink.write(chunk);
    if (this.#ended) this.#finish();
    else this.#source?.resume();
  }

  /** The attempt is over. */
  detach(): void {
    this.#sink = undefined;
    this.#source?.pause();
  }

  /** No attempt follows: what still comes is thrown away. */
  discard(): void {
    this.#sink = undefined;
    this.#overflow = true;
    this.#kept = [];
    this.#source?.removeAllListeners('data');
    this.#source?.resume();
  }
}
