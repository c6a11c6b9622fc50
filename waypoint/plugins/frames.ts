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
    while (this.#size >= this.#need) {
      const all = Buffer.concat(this.#parts);
      const length = all.readUInt32BE();
      if (length > this.#limit) throw new Error('message too long');
      this.#need = 4 + length;
      const whole = all.length >= this.#need;
      if (whole) out.push(JSON.parse(all.toString('utf8', 4, this.#need)));
      const rest = whole ? all.subarray(this.#need) : all;
      this.#parts = [rest];
      this.#size = rest.length;
      if (whole) this.#need = 4;
    }
    return out;
  }
}
