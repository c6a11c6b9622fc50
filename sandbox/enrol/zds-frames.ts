// ZDS over a byte stream: each message is a 4-byte big-endian length and its bytes (sandbox.md D3).
// Pure.

const mostBytes = 64 * 1024;

export function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(message.length);
  return Buffer.concat([head, message]);
}

/** Cuts a stream into messages. `push` throws on a length nobody sends. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const out: Buffer[] = [];
    while (this.#rest.length >= 4) {
      const length = this.#rest.readUInt32BE(0);
      if (length > mostBytes) throw new Error(`a message of ${length} bytes`);
      if (this.#rest.length < 4 + length) break;
      out.push(this.#rest.subarray(4, 4 + length));
      this.#rest = this.#rest.subarray(4 + length);
    }
    return out;
  }
}
