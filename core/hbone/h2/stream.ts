// One stream of a connection, as a Duplex: half-close both ways, back-pressure by windows, and a reset that stays
// a reset. The session does what goes over the wire.
import { Duplex } from 'node:stream';
import { code } from './frames.ts';

/** What a stream needs of its connection. */
export interface StreamWire {
  /** Sends what the windows let through of `stream.queue`; calls `sent` when it is empty. */
  flush(stream: H2Stream): void;
  endStream(stream: H2Stream): void;
  resetStream(stream: H2Stream, errorCode: number): void;
  /** `count` bytes have been taken by the reader: the peer may send as many more. */
  consumed(stream: H2Stream, count: number): void;
}

/** Bytes that wait in a stream on either side before its user is held back. */
const bufferBytes = 256 * 1024;

type Done = (error?: Error | null) => void;

export class H2Stream extends Duplex {
  readonly id: number;
  /** Error code with which either side ended the stream abruptly; 0 = neither has. */
  rstCode = 0;
  /** Bytes the peer lets us send. */
  sendWindow: number;
  /** Bytes we let the peer send. */
  receiveWindow: number;
  /** Credit not yet given back to the peer. */
  owed = 0;
  /** Chunks to be sent, oldest first. */
  queue: Buffer[] = [];
  /** HEADERS went out; until then nothing else may. */
  started = false;
  /** END_STREAM was sent, END_STREAM was received, RST_STREAM was sent or received. */
  localEnd = false;
  remoteEnd = false;
  wasReset = false;
  readonly #wire: StreamWire;
  #sent: Done | undefined;
  /** Bytes pushed to a reader who has not asked for more. */
  #unread = 0;

  constructor(wire: StreamWire, id: number, sendWindow: number, receiveWindow: number) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: bufferBytes,
      writableHighWaterMark: bufferBytes,
    });
    this.#wire = wire;
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  /** RST_STREAM and nothing before it; neither side's buffered bytes are delivered. */
  reset(errorCode: number): void {
    if (this.destroyed) return;
    this.rstCode = errorCode;
    if (!this.wasReset && !(this.localEnd && this.remoteEnd)) {
      this.#wire.resetStream(this, errorCode);
    }
    this.destroy();
  }

  /** Bytes have come. */
  received(chunk: Buffer): void {
    if (this.destroyed || this.readableEnded) this.#wire.consumed(this, chunk.length);
    else if (this.push(chunk)) this.#wire.consumed(this, chunk.length);
    else this.#unread += chunk.length;
  }

  receivedEnd(): void {
    if (this.remoteEnd) return;
    this.remoteEnd = true;
    if (!this.destroyed) this.push(null);
  }

  /** The peer's RST_STREAM. With NO_ERROR it has had enough: what it sent may still be read. */
  receivedReset(errorCode: number): void {
    this.wasReset = true;
    this.#drop();
    if (errorCode === code.noError) {
      if (!this.remoteEnd) this.receivedEnd();
      if (this.readableEnded) this.destroy();
      else this.once('end', () => this.destroy());
      return;
    }
    this.rstCode = errorCode;
    this.destroy();
  }

  /** The connection is gone. */
  lost(errorCode: number): void {
    this.wasReset = true;
    if (!(this.localEnd && this.remoteEnd)) {
      this.rstCode = errorCode;
      this.destroy();
    } else if (this.readableEnded) this.destroy();
  }

  /** Everything queued is on its way. */
  sent(): void {
    const done = this.#sent;
    this.#sent = undefined;
    done?.();
  }

  #drop(): void {
    this.queue = [];
    this.sent();
  }

  override _read(): void {
    const count = this.#unread;
    this.#unread = 0;
    if (count > 0) this.#wire.consumed(this, count);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#enqueue([chunk], done);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: Done): void {
    this.#enqueue(
      chunks.map((c) => c.chunk),
      done,
    );
  }

  #enqueue(chunks: Buffer[], done: Done): void {
    if (this.wasReset) {
      done();
      return;
    }
    this.queue = chunks.filter((c) => c.length > 0);
    this.#sent = done;
    this.#wire.flush(this);
  }

  override _final(done: Done): void {
    if (!this.wasReset) this.#wire.endStream(this);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.queue = [];
    this.#sent = undefined;
    if (!this.wasReset && !(this.localEnd && this.remoteEnd)) {
      if (this.rstCode === 0 && !this.localEnd) {
        this.rstCode = error ? code.internalError : code.cancel;
      }
      this.#wire.resetStream(this, this.rstCode);
    }
    if (this.#unread > 0) this.#wire.consumed(this, this.#unread);
    this.#unread = 0;
    done(error);
  }
}
