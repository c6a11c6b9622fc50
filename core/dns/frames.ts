// DNS over TCP: each message is two bytes of length and its bytes (RFC 1035 4.2.2, RFC 7766). Pure.

export function frameDns(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 + message.length);
  out[0] = message.length >> 8;
  out[1] = message.length & 255;
  out.set(message, 2);
  return out;
}

/** Bytes in, whole messages out; keeps what is incomplete, 64 KB at most. */
export class DnsFrames {
  #rest: Uint8Array = new Uint8Array();

  push(chunk: Uint8Array): Uint8Array[] {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const out: Uint8Array[] = [];
    let at = 0;
    while (bytes.length - at >= 2) {
      const end = at + 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
      if (end > bytes.length) break;
      out.push(bytes.subarray(at + 2, end));
      at = end;
    }
    this.#rest = bytes.slice(at);
    return out;
  }
}
