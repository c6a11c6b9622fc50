// 64-bit hash (XXH64, seed 0) of a text: consistent hashing must come out the same in every replica.
const mask = 0xffff_ffff_ffff_ffffn;
const p1 = 0x9e37_79b1_85eb_ca87n;
const p2 = 0xc2b2_ae3d_27d4_eb4fn;
const p3 = 0x1656_67b1_9e37_79f9n;
const p4 = 0x85eb_ca77_c2b2_ae63n;
const p5 = 0x27d4_eb2f_1656_67c5n;

const mul = (a: bigint, b: bigint): bigint => (a * b) & mask;
const rotl = (a: bigint, n: bigint): bigint => ((a << n) | (a >> (64n - n))) & mask;
const round = (acc: bigint, lane: bigint): bigint =>
  mul(rotl((acc + mul(lane, p2)) & mask, 31n), p1);
const merge = (acc: bigint, v: bigint): bigint => (mul(acc ^ round(0n, v), p1) + p4) & mask;

/** Of the UTF-8 bytes. */
export function xxh64(text: string): bigint {
  const bytes = Buffer.from(text);
  let at = 0;
  let h: bigint;
  if (bytes.length >= 32) {
    const v = [(p1 + p2) & mask, p2, 0n, (mask + 1n - p1) & mask];
    for (; at + 32 <= bytes.length; at += 32) {
      for (let i = 0; i < 4; i++) v[i] = round(v[i] ?? 0n, bytes.readBigUInt64LE(at + 8 * i));
    }
    const [a = 0n, b = 0n, c = 0n, d = 0n] = v;
    h = (rotl(a, 1n) + rotl(b, 7n) + rotl(c, 12n) + rotl(d, 18n)) & mask;
    for (const lane of v) h = merge(h, lane);
  } else h = p5;
  h = (h + BigInt(bytes.length)) & mask;
  for (; at + 8 <= bytes.length; at += 8) {
    h = (mul(rotl(h ^ round(0n, bytes.readBigUInt64LE(at)), 27n), p1) + p4) & mask;
  }
  if (at + 4 <= bytes.length) {
    h = (mul(rotl(h ^ mul(BigInt(bytes.readUInt32LE(at)), p1), 23n), p2) + p3) & mask;
    at += 4;
  }
  for (; at < bytes.length; at++) {
    h = mul(rotl(h ^ mul(BigInt(bytes[at] ?? 0), p5), 11n), p1);
  }
  h = mul(h ^ (h >> 33n), p2);
  h = mul(h ^ (h >> 29n), p3);
  return h ^ (h >> 32n);
}
