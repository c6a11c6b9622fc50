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
export const maxRingSize = 8 << 20;
export const defaultTableSize = 65_537;

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
  const points: { readonly at: bigint; readonly host: number }[] = [];
  let target = 0;
  for (const [host, h] of hosts.entries()) {
    const first = points.length;
    target += (scale * h.weight) / total;
    for (let i = 0; points.length < target || points.length === first; i++) {
      points.push({ at: xxh64(`${h.name}_${i}`), host });
    }
  }
  points.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.host - b.host));
  return (hash) => {
    let low = 0;
    let high = points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((points[middle]?.at ?? 0n) < hash) low = middle + 1;
      else high = middle;
    }
    return points[low === points.length ? 0 : low]?.host;
  };
}

/** `size` must be a prime: each host then walks over every place. */
export function maglev(hosts: readonly Weighted[], size = defaultTableSize): Lookup {
  const heaviest = Math.max(0, ...hosts.map((h) => h.weight));
  if (hosts.length === 0 || heaviest <= 0) return () => undefined;
  const big = BigInt(size);
  const walks = hosts.map((h) => ({
    offset: Number(xxh64(h.name) % big),
    skip: Number(xxh64(`${h.name}\0`) % (big - 1n)) + 1,
    next: 0,
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
      let place = (w.offset + w.skip * w.next) % size;
      while (table[place] !== -1) place = (w.offset + w.skip * ++w.next) % size;
      table[place] = host;
      w.next++;
      if (++filled === size) break;
    }
  }
  return (hash) => table[Number(hash % big)];
}
