// The Huffman code of HPACK (RFC 7541 section 5.2, appendix B). The code is canonical: the lengths say it all.
// Only decoding: what we send is short, and sent as it is.

/** Bits of the code of each byte, and of EOS (256). */
const lengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const eos = 256;

/** Two slots a node: the next node, or the complement of a symbol. */
const tree = build();

function build(): Int16Array {
  const symbols = lengths.map((_, s) => s).toSorted((a, b) => length(a) - length(b) || a - b);
  const nodes = new Int16Array(2 * lengths.length);
  let used = 1;
  let code = 0;
  let bits = 0;
  for (const symbol of symbols) {
    code <<= length(symbol) - bits;
    bits = length(symbol);
    let node = 0;
    for (let bit = bits - 1; bit > 0; bit--) {
      const at = 2 * node + ((code >> bit) & 1);
      if (nodes[at] === 0) nodes[at] = used++;
      node = nodes[at] ?? 0;
    }
    nodes[2 * node + (code & 1)] = ~symbol;
    code++;
  }
  return nodes;
}

function length(symbol: number): number {
  return lengths[symbol] ?? 0;
}

/** The text, one character a byte; `undefined` = EOS inside, or padding that is none (7 bits at most, all ones). */
export function decodeHuffman(bytes: Uint8Array): string | undefined {
  const out = Buffer.allocUnsafe(Math.ceil((bytes.length * 8) / 5));
  let size = 0;
  let node = 0;
  let depth = 0;
  let ones = true;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const one = (byte >> bit) & 1;
      const next = tree[2 * node + one] ?? 0;
      depth++;
      if (one === 0) ones = false;
      if (next >= 0) {
        node = next;
        continue;
      }
      if (~next === eos) return undefined;
      out[size++] = ~next;
      node = 0;
      depth = 0;
      ones = true;
    }
  }
  return depth <= 7 && ones ? out.toString('latin1', 0, size) : undefined;
}
