// Header blocks put together from HEADERS and CONTINUATION (RFC 9113 6.2, 6.10) and decoded.
import { code, flag, H2Error } from './frames.ts';
import { type Decoded, HpackDecoder } from './hpack.ts';

export interface HeaderBlock extends Decoded {
  readonly id: number;
  readonly endStream: boolean;
}

interface Part {
  readonly id: number;
  readonly endStream: boolean;
  readonly parts: Buffer[];
  bytes: number;
}

/** Frames of one block; more are a flood (H3). */
const maxFrames = 8;

export class HeaderBlocks {
  readonly #maxBytes: number;
  readonly #decoder: HpackDecoder;
  #part: Part | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#decoder = new HpackDecoder(maxBytes);
  }

  /** A block has begun and not ended: no other frame may come. */
  get open(): boolean {
    return this.#part !== undefined;
  }

  /** The block, if this was all of it. Throws H2Error and HpackError. */
  headers(flags: number, id: number, payload: Buffer): HeaderBlock | undefined {
    if (id === 0) throw new H2Error(code.protocolError, 'HEADERS on stream 0');
    let from = 0;
    let to = payload.length;
    if ((flags & flag.padded) !== 0) {
      to -= payload[0] ?? payload.length + 1;
      from = 1;
    }
    if ((flags & flag.priority) !== 0) from += 5;
    if (from > to) throw new H2Error(code.protocolError, 'more padding than frame');
    const endStream = (flags & flag.endStream) !== 0;
    return this.#add({ id, endStream, parts: [], bytes: 0 }, flags, payload.subarray(from, to));
  }

  continuation(flags: number, id: number, payload: Buffer): HeaderBlock | undefined {
    if (this.#part?.id !== id) throw new H2Error(code.protocolError, 'CONTINUATION of nothing');
    return this.#add(this.#part, flags, payload);
  }

  #add(part: Part, flags: number, payload: Buffer): HeaderBlock | undefined {
    part.bytes += payload.length;
    const last = (flags & flag.endHeaders) !== 0;
    // A copy while we wait: the payload is the reader's.
    part.parts.push(last ? payload : Buffer.from(payload));
    if (part.parts.length > maxFrames || part.bytes > this.#maxBytes) {
      throw new H2Error(code.enhanceYourCalm, 'header block without end');
    }
    this.#part = last ? undefined : part;
    if (!last) return undefined;
    const whole = part.parts.length === 1 ? payload : Buffer.concat(part.parts);
    return { id: part.id, endStream: part.endStream, ...this.#decoder.decode(whole) };
  }
}
