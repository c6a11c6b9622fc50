// Header compression (RFC 7541). Decoding keeps the peer's dynamic table; encoding keeps no state: our headers
// differ from stream to stream, and a table that is not there cannot be attacked.
import { decodeHuffman } from './huffman.ts';

export type HeaderField = readonly [name: string, value: string];

// RFC 7541 appendix A; index 1 is the first.
const staticTable: readonly HeaderField[] = (
  ':authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|' +
  ':status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|' +
  'accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|' +
  'authorization|cache-control|content-disposition|content-encoding|content-language|content-length|' +
  'content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|' +
  'if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|' +
  'proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|' +
  'strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate'
)
  .split('|')
  .map((line) => {
    const at = line.indexOf(' ');
    return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
  });

/** Size of a field in a table (RFC 7541 4.1). */
const sizeOf = ([name, value]: HeaderField): number => name.length + value.length + 32;

/** What the peer's encoder may make us keep, bytes: the default, never offered larger. */
const tableBytes = 4096;

export class HpackError extends Error {}

export interface Decoded {
  readonly fields: readonly HeaderField[];
  /** Over the limit by decoded size: `fields` is incomplete, the table is not. */
  readonly tooLarge: boolean;
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

export class HpackDecoder {
  readonly #limit: number;
  /** Newest first. */
  readonly #table: HeaderField[] = [];
  #size = 0;
  #max = tableBytes;

  /** `limit`: decoded bytes of one block, as SETTINGS_MAX_HEADER_LIST_SIZE counts them. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A whole header block. Throws HpackError: the connection cannot go on (COMPRESSION_ERROR). */
  decode(block: Uint8Array): Decoded {
    const cursor: Cursor = { bytes: block, at: 0 };
    const fields: HeaderField[] = [];
    let total = 0;
    while (cursor.at < block.length) {
      const first = block[cursor.at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        if (fields.length > 0) throw new HpackError('table size update after a field');
        this.#resize(integer(cursor, 5));
        continue;
      }
      const field = this.#field(cursor, first);
      total += sizeOf(field);
      if (total <= this.#limit) fields.push(field);
    }
    return { fields, tooLarge: total > this.#limit };
  }

  #field(cursor: Cursor, first: number): HeaderField {
    if ((first & 0x80) !== 0) return this.#lookUp(integer(cursor, 7));
    const indexed = (first & 0x40) !== 0;
    const index = integer(cursor, indexed ? 6 : 4);
    const name = index === 0 ? text(cursor) : this.#lookUp(index)[0];
    const field: HeaderField = [name, text(cursor)];
    if (indexed) this.#insert(field);
    return field;
  }

  #lookUp(index: number): HeaderField {
    const field =
      index <= staticTable.length
        ? staticTable[index - 1]
        : this.#table[index - staticTable.length - 1];
    if (!field) throw new HpackError(`no field ${index}`);
    return field;
  }

  #insert(field: HeaderField): void {
    this.#table.unshift(field);
    this.#size += sizeOf(field);
    this.#evict();
  }

  #resize(max: number): void {
    if (max > tableBytes) throw new HpackError('table size over what was offered');
    this.#max = max;
    this.#evict();
  }

  #evict(): void {
    while (this.#size > this.#max) {
      const last = this.#table.pop();
      if (!last) return;
      this.#size -= sizeOf(last);
    }
  }
}

function integer(cursor: Cursor, prefix: number): number {
  const full = (1 << prefix) - 1;
  let value = next(cursor) & full;
  if (value < full) return value;
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = next(cursor);
    value += (byte & 0x7f) * 2 ** shift;
    if ((byte & 0x80) === 0) return value;
  }
  throw new HpackError('number too large');
}

function next(cursor: Cursor): number {
  const byte = cursor.bytes[cursor.at++];
  if (byte === undefined) throw new HpackError('block cut off');
  return byte;
}

function text(cursor: Cursor): string {
  const huffman = ((cursor.bytes[cursor.at] ?? 0) & 0x80) !== 0;
  const length = integer(cursor, 7);
  const bytes = cursor.bytes.subarray(cursor.at, cursor.at + length);
  if (bytes.length < length) throw new HpackError('text cut off');
  cursor.at += length;
  if (!huffman) return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
  const decoded = decodeHuffman(bytes);
  if (decoded === undefined) throw new HpackError('bad Huffman code');
  return decoded;
}

const indexOfName = new Map(staticTable.map(([name], i) => [name, i + 1] as const).toReversed());

/** A block without indexing, in the order given; texts are sent one byte a character. */
export function encodeHeaders(fields: Iterable<HeaderField>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) {
    const index = indexOfName.get(name);
    if (index === undefined) parts.push(Buffer.from([0]), encodeText(name));
    else parts.push(encodeInteger(index, 4));
    parts.push(encodeText(value));
  }
  return Buffer.concat(parts);
}

function encodeText(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([encodeInteger(bytes.length, 7), bytes]);
}

function encodeInteger(value: number, prefix: number): Buffer {
  const full = (1 << prefix) - 1;
  if (value < full) return Buffer.from([value]);
  const bytes = [full];
  let rest = value - full;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
