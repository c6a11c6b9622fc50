// The server name that a TLS client asks for, read from its first bytes and nothing else (RFC 8446 4.1.2, RFC 6066 3).
// Pure; the handshake is not ours and goes on untouched.

export type ServerName =
  | { readonly state: 'more' }
  /** Not TLS, or a hello that cannot be read. */
  | { readonly state: 'other' }
  /** In lower case, without final dot; empty = none was sent. */
  | { readonly state: 'hello'; readonly name: string };

export const handshakeRecord = 22;
const clientHello = 1;
const serverNameExtension = 0;
/** Bytes of one hello; those of today's clients have below 2 KiB. */
const longestHello = 16 * 1024;
const longestRecord = 16 * 1024 + 256;

const more: ServerName = { state: 'more' };
const other: ServerName = { state: 'other' };

/** The handshake bytes of the records, as far as they are there; `undefined` = something else than a handshake. */
function handshakeOf(bytes: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let total = 0;
  let whole: number | undefined;
  for (let at = 0; at < bytes.length; ) {
    const [type, major] = [bytes[at], bytes[at + 1]];
    if (type !== handshakeRecord || (major !== undefined && major !== 3)) return undefined;
    if (at + 5 > bytes.length) break;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > longestRecord) return undefined;
    const part = bytes.subarray(at + 5, at + 5 + length);
    parts.push(part);
    total += part.length;
    at += 5 + length;
    // Once: records of a byte each must not make this quadratic.
    if (total >= 4) whole ??= helloLength(parts);
    if (whole !== undefined && total >= whole) break;
  }
  return Buffer.concat(parts);
}

/** With its header of four bytes. */
function helloLength(parts: readonly Buffer[]): number | undefined {
  const head = Buffer.concat(parts).subarray(0, 4);
  return head.length < 4 ? undefined : 4 + head.readUIntBE(1, 3);
}

/** Reads fields one after another; `undefined` once they do not fit. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get empty(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(size: 1 | 2): number | undefined {
    if (this.#at + size > this.#bytes.length) return undefined;
    const value = this.#bytes.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }

  take(length: number | undefined): Buffer | undefined {
    if (length === undefined || this.#at + length > this.#bytes.length) return undefined;
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  /** A field with its length before it. */
  sized(size: 1 | 2): Buffer | undefined {
    return this.take(this.number(size));
  }
}

/** `undefined` = malformed. */
function nameIn(extension: Buffer): string | undefined {
  const list = new Fields(extension).sized(2);
  if (!list) return undefined;
  const names = new Fields(list);
  const type = names.number(1);
  const name = names.sized(2);
  if (type !== 0 || !name || name.length === 0) return undefined;
  const text = name.toString('latin1').toLowerCase().replace(/\.$/, '');
  return /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(text) ? text : undefined;
}

function nameOfHello(body: Buffer): ServerName {
  const f = new Fields(body);
  const read = f.take(2 + 32) && f.sized(1) && f.sized(2) && f.sized(1);
  if (!read) return other;
  if (f.empty) return { state: 'hello', name: '' };
  const all = f.sized(2);
  if (!all) return other;
  const extensions = new Fields(all);
  while (!extensions.empty) {
    const type = extensions.number(2);
    const data = extensions.sized(2);
    if (type === undefined || !data) return other;
    if (type !== serverNameExtension) continue;
    const name = nameIn(data);
    return name === undefined ? other : { state: 'hello', name };
  }
  return { state: 'hello', name: '' };
}

export function serverName(bytes: Buffer): ServerName {
  if (bytes.length === 0) return more;
  const hello = handshakeOf(bytes);
  if (!hello || (hello.length > 0 && hello[0] !== clientHello)) return other;
  const length = helloLength([hello]);
  if (length === undefined) return more;
  if (length > longestHello) return other;
  return hello.length < length ? more : nameOfHello(hello.subarray(4, length));
}
