// The little of the Redis protocol that counting needs (RESP2): commands out, replies in, one connection, in order.

/** `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n` */
export function writeCommand(parts: readonly string[]): string {
  const all = parts.map((p) => `$${Buffer.byteLength(p)}\r\n${p}\r\n`);
  return `*${parts.length}\r\n${all.join('')}`;
}

export type Reply = number | string | null | Error;

const maxReply = 1 << 20;

/** Takes bytes as they come, gives whole replies; lists are not understood. */
export class ReplyReader {
  #left = '';

  /** Throws on bytes that are no reply. */
  push(bytes: Buffer): Reply[] {
    this.#left += bytes.toString('latin1');
    if (this.#left.length > maxReply) throw new Error('a reply is too long');
    const out: Reply[] = [];
    for (;;) {
      const reply = this.#next();
      if (reply === undefined) return out;
      out.push(reply);
    }
  }

  #next(): Reply | undefined {
    const end = this.#left.indexOf('\r\n');
    if (end < 0) return undefined;
    const [kind, text] = [this.#left[0], this.#left.slice(1, end)];
    let rest = end + 2;
    let reply: Reply;
    if (kind === '+') reply = text;
    else if (kind === '-') reply = new Error(text.slice(0, 200));
    else if (kind === ':') {
      reply = Number(text);
      if (!Number.isSafeInteger(reply)) throw new Error('a number that is none');
    } else if (kind === '$') {
      const size = Number(text);
      if (!Number.isInteger(size) || size < -1 || size > maxReply) throw new Error('a bad length');
      if (size >= 0 && this.#left.length < rest + size + 2) return undefined;
      reply = size < 0 ? null : this.#left.slice(rest, rest + size);
      if (size >= 0) rest += size + 2;
    } else throw new Error('bytes that are no reply');
    this.#left = this.#left.slice(rest);
    return reply;
  }
}
