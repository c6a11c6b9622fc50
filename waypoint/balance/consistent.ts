// Consistent hashing as Envoy does it (waypoint-l7.md 5.2): a ring of points, or a maglev table. Built from names and
// weights alone, so that replicas agree; a host that comes or goes moves few keys.
import { xxh64 } from './hash.ts';

export interface Weighted {
  /** Its address: what the points are made from. */
  readonly name: string;
  readonly weight: number;
}

/** Index into the hosts it was built from, or `undefined` if there are none. */
export type Lookup = (hash: bigint) => number | undefined;

export const defaultRingSize = 1024;
/** Envoy takes 8 Mi; a table is built between two requests, so it must not take long. */
export const maxRingSize = 1 << 16;
export const defaultTableSize = 65_537;
export const maxTableSize = 1_048_573;

function scramble(n: number): number {
  let h = n;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The i-th point of a host, 53 bits: drawn from its hash, for a 64-bit hash of each would take a thousand times longer. */
function pointOf(high: number, low: number, i: number): number {
  const a = scramble(high ^ Math.imul(i + 1, 0x9e37_79b1));
  const b = scramble(low ^ Math.imul(i + 1, 0xc2b2_ae3d) ^ a);
  return a * 2 ** 21 + (b >>> 11);
}

/**
 * Points in proportion to weight, at least `minimum` in total; the least heavy host gets a whole number of them,
 * and no host none.
 */
export function ringHash(hosts: readonly Weighted[], minimum = defaultRingSize): Lookup {
  const total = hosts.reduce((n, h) => n + h.weight, 0);
  if (hosts.length === 0 || total <= 0) return () => undefined;
  const least = Math.min(...hosts.map((h) => h.weight)) / total;
  const size = Math.min(Math.max(minimum, hosts.length), maxRingSize);
  const scale = Math.min(Math.ceil(least * size) / least, maxRingSize);
  const points: number[] = [];
  const owners: number[] = [];
  let target = 0;
  for (const [host, h] of hosts.entries()) {
    const hash = xxh64(h.name);
    const [high, low] = [Number(hash >> 32n), Number(hash & 0xffff_ffffn)];
    const first = points.length;
    target += (scale * h.weight) / total;
    for (let i = 0; points.length < target || points.length === first; i++) {
      points.push(pointOf(high, low, i));
      owners.push(host);
    }
  }
  const order = Uint32Array.from(points.keys()).toSorted(
    (a, b) => (points[a] ?? 0) - (points[b] ?? 0) || (owners[a] ?? 0) - (owners[b] ?? 0),
  );
  const sorted = Float64Array.from(order, (i) => points[i] ?? 0);
  return (hash) => {
    const key = Number(hash >> 11n);
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sorted[middle] ?? 0) < key) low = middle + 1;
      else high = middle;
    }
    return owners[order[low === sorted.length ? 0 : low] ?? 0];
  };
}

const step = (w: { readonly place: number; readonly skip: number }, size: number): number =>
  w.place + w.skip < size ? w.place + w.skip : w.place + w.skip - size;

/** `size` must be a prime: each host then walks over every place. */
export function maglev(hosts: readonly Weighted[], size = defaultTableSize): Lookup {
  const heaviest = Math.max(0, ...hosts.map((h) => h.weight));
  if (hosts.length === 0 || heaviest <= 0) return () => undefined;
  const big = BigInt(size);
  const walks = hosts.map((h) => ({
    place: Number(xxh64(h.name) % big),
    skip: Number(xxh64(`${h.name}\0`) % (big - 1n)) + 1,
    credit: 0,
    weight: h.weight / heaviest,
  }));
  const table = new Int32Array(size).fill(-1);
  let filled = 0;
  while (filled < size) {
    for (const [host, w] of walks.entries()) {
      w.credit += w.weight;
      if (w.credit < 1) continue;
      w.credit -= 1;
      while (table[w.place] !== -1) w.place = step(w, size);
      table[w.place] = host;
      w.place = step(w, size);
      if (++filled === size) break;
    }
  }
  return (hash) => table[Number(hash % big)];
}
