// SPDY/3.1, the acceptor's side, over any Duplex: what kubectl's exec before 1.30 and port-forward need.
// Frames in, one Duplex per stream out. Nothing is pushed and no stream is opened from here.
import { Duplex } from 'node:stream';
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib';
import { spdyDictionary } from './spdy-dictionary.ts';

const synStream = 1;
const synReply = 2;
const rstStream = 3;
const ping = 6;
const windowUpdate = 9;
const finFlag = 1;

/** A peer's frame is at most 16 MB by its length field; kubectl sends 32 KB. */
const maxFrameBytes = 1024 * 1024;
const maxHeaderBytes = 64 * 1024;
const maxStreams = 512;
/** Unread bytes of a stream beyond which the wire is paused: kubectl minds no windows. */
const maxUnreadBytes = 4 * 1024 * 1024;

export interface SpdyStream extends Duplex {
  readonly headers: ReadonlyMap<string, string>;
}

function words(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  for (const [i, v] of values.entries()) out.writeUInt32BE(v >>> 0, 4 * i);
  return out;
}

/** Compresses or expands one block; both ends keep one context per connection. */
function through(codec: Inflate | Deflate, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const out: Buffer[] = [];
    let size = 0;
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxHeaderBytes) codec.destroy(new Error('a SPDY header block is too large'));
      else out.push(chunk);
    };
    codec.on('data', take);
    codec.once('error', reject);
    codec.write(bytes, () => {
      codec.flush(constants.Z_SYNC_FLUSH, () => {
        codec.off('data', take);
        codec.off('error', reject);
        resolve(Buffer.concat(out));
      });
    });
  });
}

function parseHeaders(block: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  let at = 4;
  const text = (): string => {
    const length = block.readUInt32BE(at);
    at += 4 + length;
    if (at > block.length) throw new Error('a SPDY header block ends early');
    return block.toString('latin1', at - length, at);
  };
  const count = block.readUInt32BE(0);
  if (count > 256) throw new Error('a SPDY header block has too many headers');
  for (let i = 0; i < count; i++) {
    const name = text();
    headers.set(name.toLowerCase(), text());
  }
  return headers;
}

class Stream extends Duplex implements SpdyStream {
  readonly headers: ReadonlyMap<string, string>;
  readonly #send: (fin: boolean, bytes: Buffer, done: () => void) => void;
  readonly #wake: () => void;

  constructor(
    headers: ReadonlyMap<string, string>,
    send: (fin: boolean, bytes: Buffer, done: () => void) => void,
    wake: () => void,
  ) {
    super();
    this.headers = headers;
    this.#send = send;
    this.#wake = wake;
    this.on('error', () => {});
  }

  override _read(): void {
    this.#wake();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#send(false, chunk, done);
  }

  override _final(done: () => void): void {
    this.#send(true, Buffer.alloc(0), done);
  }
}

class Connection {
  readonly #wire: Duplex;
  readonly #onStream: (stream: SpdyStream) => void;
  readonly #inflate = createInflate({ dictionary: spdyDictionary });
  readonly #deflate = createDeflate({ dictionary: spdyDictionary });
  readonly #streams = new Map<number, Stream>();
  #rest: Buffer = Buffer.alloc(0);
  #working = false;

  constructor(wire: Duplex, onStream: (stream: SpdyStream) => void) {
    this.#wire = wire;
    this.#onStream = onStream;
    this.#inflate.on('error', () => {});
    this.#deflate.on('error', () => {});
    wire.on('error', () => {});
    wire.on('data', (chunk: Buffer) => {
      this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
      void this.#work();
    });
    const gone = () => this.#end();
    wire.once('close', gone);
    wire.once('end', gone);
  }

  /** Frames one after the other: header blocks depend on those before them. */
  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let frame = this.#next(); frame; frame = this.#next()) await this.#frame(frame);
    } catch (error) {
      this.#wire.destroy(error as Error);
    } finally {
      this.#working = false;
    }
  }

  #next(): Buffer | undefined {
    if (this.#rest.length < 8) return undefined;
    const length = this.#rest.readUIntBE(5, 3);
    if (length > maxFrameBytes) throw new Error(`a SPDY frame of ${length} bytes is too large`);
    if (this.#rest.length < 8 + length) return undefined;
    const frame = this.#rest.subarray(0, 8 + length);
    this.#rest = this.#rest.subarray(8 + length);
    return frame;
  }

  async #frame(frame: Buffer): Promise<void> {
    const first = frame.readUInt32BE(0);
    const flags = frame.readUInt8(4);
    const body = frame.subarray(8);
    if (first < 0x80000000) return this.#data(first, flags, body);
    switch (first & 0xffff) {
      case synStream:
        return this.#open(flags, body);
      case rstStream: {
        const id = body.readUInt32BE(0) & 0x7fffffff;
        this.#streams.get(id)?.destroy();
        this.#streams.delete(id);
        return;
      }
      case ping:
        this.#control(ping, body);
        return;
      default:
        // SETTINGS, HEADERS, WINDOW_UPDATE and GOAWAY ask nothing of us.
        return;
    }
  }

  #data(id: number, flags: number, body: Buffer): void {
    const stream = this.#streams.get(id);
    if (!stream || stream.destroyed) return;
    if (body.length > 0) {
      stream.push(Buffer.from(body));
      this.#control(windowUpdate, words(id, body.length));
      this.#control(windowUpdate, words(0, body.length));
      if (stream.readableLength > maxUnreadBytes) this.#wire.pause();
    }
    if (flags & finFlag) stream.push(null);
  }

  async #open(flags: number, body: Buffer): Promise<void> {
    const id = body.readUInt32BE(0) & 0x7fffffff;
    const headers = parseHeaders(await through(this.#inflate, body.subarray(10)));
    if (this.#streams.has(id)) throw new Error(`SPDY stream ${id} is opened twice`);
    if (this.#streams.size >= maxStreams) return this.#control(rstStream, words(id, 3));
    const send = (fin: boolean, bytes: Buffer, done: () => void) => {
      if (this.#wire.destroyed) return done();
      const head = words(id, (fin ? 0x01000000 : 0) + bytes.length);
      this.#wire.write(bytes.length > 0 ? Buffer.concat([head, bytes]) : head, () => done());
    };
    const stream = new Stream(headers, send, () => this.#wake());
    this.#streams.set(id, stream);
    stream.once('close', () => {
      if (this.#streams.get(id) === stream) this.#streams.delete(id);
    });
    const none = await through(this.#deflate, words(0));
    this.#control(synReply, Buffer.concat([words(id), none]));
    if (flags & finFlag) stream.push(null);
    this.#onStream(stream);
  }

  #wake(): void {
    if (this.#wire.isPaused()) this.#wire.resume();
  }

  #control(type: number, body: Buffer): void {
    if (this.#wire.destroyed || this.#wire.writableEnded) return;
    this.#wire.write(Buffer.concat([words(0x80030000 + type, body.length), body]));
  }

  #end(): void {
    for (const stream of this.#streams.values()) stream.destroy();
    this.#streams.clear();
    this.#inflate.close();
    this.#deflate.close();
  }
}

/** Serves SPDY on `wire` until it closes; `onStream` gets each stream the peer opens. */
export function serveSpdy(wire: Duplex, onStream: (stream: SpdyStream) => void): void {
  new Connection(wire, onStream);
}
