// A request body that can be sent again: kept up to a limit while it streams to the attempt in hand, with
// back-pressure to the caller. Past the limit there is no further attempt.
import type { Readable, Writable } from 'node:stream';

/** What a try sends. */
export interface AttemptBody {
  readonly isEmpty: boolean;
  attach(sink: Writable): void;
  /** The try with this sink is over; another's goes on. */
  detach(sink: Writable): void;
}

/** A copy that lags further behind than this is given up. */
const copyLimit = 1 << 20;

export class RequestBody implements AttemptBody {
  readonly #source: Readable | undefined;
  readonly #limit: number;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #overflow = false;
  #ended = false;
  #sink: Writable | undefined;
  readonly #copies = new Set<Copy>();
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
    for (const c of this.#copies) if (!c.take(chunk)) this.#copies.delete(c);
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
    for (const c of this.#copies) c.finish();
    this.#copies.clear();
    this.#end();
  }

  #end(): void {
    const sink = this.#sink;
    if (!sink || sink.destroyed || sink.writableEnded) return;
    sink.end();
  }

  /** The same bytes for somebody nobody waits for; made before any have come. */
  copy(): AttemptBody {
    const copy = new Copy(this.isEmpty);
    if (!this.#ended) this.#copies.add(copy);
    else copy.finish();
    return copy;
  }

  /** Sends what is kept, then what comes. */
  attach(sink: Writable): void {
    this.#sink = sink;
    for (const chunk of this.#kept) sink.write(chunk);
    if (this.#ended) this.#end();
    else this.#source?.resume();
  }

  detach(sink: Writable): void {
    if (this.#sink !== sink) return;
    this.#sink = undefined;
    this.#source?.pause();
  }

  /** No attempt follows: what still comes is thrown away. A connection that waits for the rest would wait for ever. */
  discard(): void {
    if (!this.#ended) {
      this.#sink?.destroy();
      for (const c of this.#copies) c.cut();
      this.#copies.clear();
    }
    this.#sink = undefined;
    this.#overflow = true;
    this.#kept = [];
    this.#source?.removeAllListeners('data');
    this.#source?.resume();
  }
}

class Copy implements AttemptBody {
  readonly isEmpty: boolean;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #sink: Writable | undefined;
  #over = false;
  #failed = false;

  constructor(isEmpty: boolean) {
    this.isEmpty = isEmpty;
  }

  /** False = given up. */
  take(chunk: Buffer): boolean {
    if (this.#failed) return false;
    const behind = this.#sink ? this.#sink.writableLength : this.#bytes;
    if (behind + chunk.length > copyLimit) {
      this.cut();
      return false;
    }
    if (this.#sink) this.#sink.write(chunk);
    else {
      this.#waiting.push(chunk);
      this.#bytes += chunk.length;
    }
    return true;
  }

  /** The rest is not to come: half a request is none. */
  cut(): void {
    this.detach();
    this.#sink?.destroy();
  }

  finish(): void {
    this.#over = true;
    if (this.#sink && !this.#sink.destroyed) this.#sink.end();
  }

  attach(sink: Writable): void {
    this.#sink = sink;
    if (this.#failed) {
      sink.destroy();
      return;
    }
    for (const chunk of this.#waiting) sink.write(chunk);
    this.#waiting = [];
    if (this.#over) sink.end();
  }

  detach(): void {
    this.#failed = true;
    this.#waiting = [];
  }
}
