// Messages between the waypoint and a plugin's process: 4 bytes of length, then JSON. Not Node's IPC: a plugin can write to
// the channel's descriptor, and bytes that are no message end the parent there (tried). Here they are an error.

/** Longest message a plugin may send. */
export const maxFrame = 1 << 18;

export function encodeFrame(message: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(message), 'utf8');
  const head = Buffer.alloc(4);
  head.writeUInt32BE(text.length);
  return Buffer.concat([head, text]);
}

/** Bytes as they come → messages; throws on what is none, and is of no use afterwards. */
export class FrameReader {
  #parts: Buffer[] = [];
  #size = 0;
  /** Bytes before anything can be read: of a length, then of its message too. */
  #need = 4;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(bytes: Buffer): unknown[] {
    this.#parts.push(bytes);
    this.#size += bytes.length;
    const out: unknown[] = [];
    if (this.#size < this.#need) return out;
    const [only] = this.#parts;
    const all = only && this.#parts.length === 1 ? only : Buffer.concat(this.#parts);
    // One pass, however many messages there are: thousands of small ones must not cost a copy each.
    let at = 0;
    this.#need = 4;
    while (all.length - at >= 4) {
      const length = all.readUInt32BE(at);
      if (length > this.#limit) throw new Error('message too long');
      this.#need = 4 + length;
      if (all.length - at < this.#need) break;
      out.push(JSON.parse(all.toString('utf8', at + 4, at + this.#need)));
      at += this.#need;
      this.#need = 4;
    }
    this.#parts = at < all.length ? [all.subarray(at)] : [];
    this.#size = all.length - at;
    return out;
  }
}
