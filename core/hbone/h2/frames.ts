// HTTP/2 frames (RFC 9113 sections 4 and 6) taken out of a byte stream. DATA is handed on as it arrives, never
// collected; every other frame is collected whole, within its limit.

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

/** Error codes of RFC 9113 section 7. */
export const code = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

/** A connection error: GOAWAY with this code, and the end. */
export class H2Error extends Error {
  readonly code: number;
  constructor(errorCode: number, message: string) {
    super(message);
    this.code = errorCode;
  }
}

export interface FrameSink {
  /** A whole frame that is not DATA. The bytes are the reader's: take them before returning. */
  frame(type: number, flags: number, id: number, payload: Buffer): void;
  /** The head of a DATA frame; `length` counts padding as flow control does. */
  dataStart(id: number, flags: number, length: number): void;
  /** Bytes of it, without padding, never empty. */
  data(chunk: Buffer): void;
  dataEnd(): void;
}

const none = Buffer.alloc(0);
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const headBytes = 9;
/** Longest payload of a frame that is not DATA. Ours are far smaller; a peer splits longer header blocks. */
const maxCollected = 64 * 1024;

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #maxFrame: number;
  /** Bytes of the preface still to come. */
  #prefaceLeft: number;
  /** Bytes of a head that are there already. */
  #kept: Buffer = none;
  /** Parts of a payload that is collected. */
  #parts: Buffer[] = [];
  #type = -1;
  #flags = 0;
  #id = 0;
  /** Payload bytes still to come. */
  #left = 0;
  /** DATA: padding bytes at its end; -1 = its length has not come yet. */
  #padding = 0;

  constructor(sink: FrameSink, maxFrame: number, expectPreface: boolean) {
    this.#sink = sink;
    this.#maxFrame = maxFrame;
    this.#prefaceLeft = expectPreface ? preface.length : 0;
  }

  /** Throws H2Error, after which nothing more may be fed. */
  feed(chunk: Buffer): void {
    let at = this.#prefaceLeft > 0 ? this.#preface(chunk) : 0;
    while (at < chunk.length || (this.#type >= 0 && this.#left === 0)) {
      if (this.#type < 0) at = this.#head(chunk, at);
      else if (this.#type === frameType.data) at = this.#data(chunk, at);
      else at = this.#collect(chunk, at);
    }
  }

  #preface(chunk: Buffer): number {
    const done = preface.length - this.#prefaceLeft;
    const count = Math.min(this.#prefaceLeft, chunk.length);
    if (preface.compare(chunk, 0, count, done, done + count) !== 0) {
      throw new H2Error(code.protocolError, 'no HTTP/2 preface');
    }
    this.#prefaceLeft -= count;
    return count;
  }

  #head(chunk: Buffer, at: number): number {
    const need = headBytes - this.#kept.length;
    if (chunk.length - at < need) {
      this.#kept = Buffer.concat([this.#kept, chunk.subarray(at)]);
      return chunk.length;
    }
    const whole = this.#kept.length === 0;
    const head = whole ? chunk : Buffer.concat([this.#kept, chunk.subarray(at, at + need)]);
    const from = whole ? at : 0;
    this.#kept = none;
    this.#left = head.readUIntBE(from, 3);
    this.#type = head[from + 3] ?? 0;
    this.#flags = head[from + 4] ?? 0;
    this.#id = head.readUInt32BE(from + 5) & 0x7fff_ffff;
    if (this.#left > this.#maxFrame) throw new H2Error(code.frameSizeError, 'frame too long');
    if (this.#type === frameType.data) this.#startData();
    else if (this.#left > maxCollected)
      throw new H2Error(code.enhanceYourCalm, 'frame too long for its kind');
    return at + need;
  }

  #startData(): void {
    if (this.#id === 0) throw new H2Error(code.protocolError, 'DATA on stream 0');
    const padded = (this.#flags & flag.padded) !== 0;
    if (padded && this.#left === 0) throw new H2Error(code.frameSizeError, 'no pad length');
    this.#padding = padded ? -1 : 0;
    this.#sink.dataStart(this.#id, this.#flags, this.#left);
  }

  #data(chunk: Buffer, start: number): number {
    let at = start;
    if (this.#padding < 0) {
      this.#padding = chunk[at++] ?? 0;
      this.#left--;
      if (this.#padding > this.#left)
        throw new H2Error(code.protocolError, 'more padding than frame');
    }
    const payload = Math.min(chunk.length - at, this.#left - this.#padding);
    if (payload > 0) {
      this.#left -= payload;
      this.#sink.data(
        at === 0 && payload === chunk.length ? chunk : chunk.subarray(at, at + payload),
      );
      at += payload;
    }
    const skipped = Math.min(chunk.length - at, this.#left, this.#padding);
    if (this.#left === this.#padding) {
      this.#left -= skipped;
      this.#padding -= skipped;
      at += skipped;
    }
    if (this.#left === 0) {
      this.#type = -1;
      this.#sink.dataEnd();
    }
    return at;
  }

  #collect(chunk: Buffer, at: number): number {
    const take = Math.min(this.#left, chunk.length - at);
    const part = chunk.subarray(at, at + take);
    this.#left -= take;
    if (this.#left > 0) {
      // A copy: the part would keep the whole chunk alive.
      if (take > 0) this.#parts.push(Buffer.from(part));
      return at + take;
    }
    const payload = this.#parts.length === 0 ? part : Buffer.concat([...this.#parts, part]);
    this.#parts = [];
    const type = this.#type;
    this.#type = -1;
    this.#sink.frame(type, this.#flags, this.#id, payload);
    return at + take;
  }
}

/** The nine bytes before a payload. */
export function frameHead(length: number, type: number, flags: number, id: number): Buffer {
  const head = Buffer.allocUnsafe(headBytes);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return head;
}

/** A frame with small numbers as its payload. */
export function numbersFrame(type: number, id: number, ...numbers: number[]): Buffer {
  const payload = Buffer.alloc(4 * numbers.length);
  numbers.forEach((n, i) => payload.writeUInt32BE(n, 4 * i));
  return Buffer.concat([frameHead(payload.length, type, 0, id), payload]);
}

export const clientPreface = preface;

/** SETTINGS of RFC 9113 6.5.2. */
export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export function settingsFrame(values: Iterable<readonly [id: number, value: number]>): Buffer {
  const payload = Buffer.concat(
    [...values].map(([id, value]) => {
      const entry = Buffer.alloc(6);
      entry.writeUInt16BE(id, 0);
      entry.writeUInt32BE(value, 2);
      return entry;
    }),
  );
  return Buffer.concat([frameHead(payload.length, frameType.settings, 0, 0), payload]);
}
