// A stream of a tunnel (or a plain socket) dressed as a socket, so that Node's HTTP can run on it: back-
// pressure both ways, half-close, and a reset that stays a reset (dependencies.md 4).
import { Duplex } from 'node:stream';
import { resetStream } from '../core/hbone/index.ts';

/** Streams that are open, so that what is held for them can be told. */
export class OpenSockets {
  readonly #all = new Set<TunnelSocket>();

  add(socket: TunnelSocket): TunnelSocket {
    this.#all.add(socket);
    socket.once('close', () => this.#all.delete(socket));
    return socket;
  }

  /** Bytes that wait in this process: of all streams, and of the one that holds most. */
  held(): { readonly streams: number; readonly bytes: number; readonly most: number } {
    let bytes = 0;
    let most = 0;
    for (const s of this.#all) {
      bytes += s.held;
      most = Math.max(most, s.held);
    }
    return { streams: this.#all.size, bytes, most };
  }
}

const codeOf = (stream: Duplex): number =>
  'rstCode' in stream && typeof stream.rstCode === 'number' ? stream.rstCode : 0;

export class TunnelSocket extends Duplex {
  readonly #under: Duplex;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  /** Node's HTTP client hangs the request that runs here. */
  _httpMessage: unknown = null;
  #resting = false;
  #over = false;

  constructor(under: Duplex, remote?: { readonly ip: string; readonly port: number }) {
    super({ allowHalfOpen: true });
    this.#under = under;
    this.remoteAddress = remote?.ip;
    this.remotePort = remote?.port;
    // Whoever uses this listens as well; an error before that must not end the process.
    this.on('error', () => {});
    under.on('error', (error: Error) => this.destroy(error));
    under.on('data', (chunk: Buffer) => {
      if (this.#resting) this.destroy();
      else if (!this.push(chunk)) under.pause();
    });
    under.pause();
    under.on('end', () => {
      // Node ends a reset HTTP/2 stream before closing it; that is no half-close.
      if (codeOf(under) !== 0) return;
      this.#over = true;
      if (this.#resting) this.destroy();
      else this.push(null);
    });
    under.on('close', () => {
      if (this.readableEnded && this.writableFinished) this.destroy();
      else if (codeOf(under) === 0 && under.readableEnded) this.#gentle();
      else this.destroy(new Error('the stream was reset'));
    });
  }

  /** Bytes that wait here, either way. */
  get held(): number {
    const { readableLength, writableLength } = this.#under;
    return this.readableLength + this.writableLength + readableLength + writableLength;
  }

  /** Nothing is expected now: bytes or an end destroy the stream. False = they have come already. */
  rest(): boolean {
    if (this.#over || this.destroyed || this.readableLength > 0) return false;
    this.#resting = true;
    this.#under.resume();
    return true;
  }

  wake(): void {
    this.#resting = false;
  }

  /** The peer left in order; what it sent may still be read. */
  #gentle(): void {
    if (this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  }

  override _read(): void {
    this.#under.resume();
  }

  override _write(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (e?: Error | null) => void,
  ): void {
    if (this.#under.destroyed || this.#under.writableEnded) done(new Error('the stream has ended'));
    else this.#under.write(chunk, done);
  }

  override _writev(
    chunks: readonly { readonly chunk: Buffer }[],
    done: (e?: Error | null) => void,
  ): void {
    this._write(Buffer.concat(chunks.map((c) => c.chunk)), 'utf8', done);
  }

  override _final(done: (e?: Error | null) => void): void {
    if (this.#under.destroyed || this.#under.writableEnded) done();
    else this.#under.end(() => done());
  }

  override _destroy(error: Error | null, done: (e: Error | null) => void): void {
    if (!this.#under.destroyed) {
      if (error === null && this.writableFinished && this.readableEnded) this.#under.destroy();
      else if (error === null && this.writableFinished) this.#endSoon();
      else resetStream(this.#under);
    }
    done(error);
  }

  /** Closed after a complete answer: what was written goes out, what still comes is thrown away. */
  #endSoon(): void {
    const under = this.#under;
    under.removeAllListeners('data');
    under.resume();
    if (!under.writableEnded) under.end();
  }

  setKeepAlive(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setTimeout(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}
