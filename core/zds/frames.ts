// Messages on a byte stream: 4 bytes of length, big-endian, then the message (sandbox.md D3). Pure.

/** Far above a WorkloadInfo with its addresses. */
export const maxFrameBytes = 64 * 1024;

export function frame(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(4 + message.length);
  new DataView(out.buffer).setUint32(0, message.length);
  out.set(message, 4);
  return out;
}

/** Bytes in, whole messages out; keeps what is incomplete. */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array();

  /** `undefined` = a message longer than allowed; the stream cannot be read any further. */
  push(chunk: Uint8Array): Uint8Array[] | undefined {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const view = new DataView(bytes.buffer);
    const out: Uint8Array[] = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = view.getUint32(at);
      if (length > maxFrameBytes) return undefined;
      if (bytes.length - at - 4 < length) break;
      out.push(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#rest = bytes.slice(at);
    return out;
  }
}
