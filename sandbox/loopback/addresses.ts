// The address plan of one loopback sandbox: block 127.B.0.0/16 (sandbox.md D5). Pure.
//   127.B.0.1 API · 127.B.0.2… pods · 127.B.128.1… cluster IPs · 127.B.255.254 the block's lock

/** B. */
export type Block = number;

export const firstBlock = 64;
export const lastBlock = 127;
export const apiPort = 6443;
/** Port of the lock on 127.B.255.254. */
export const lockPort = 6443;
/** Host numbers below this are for fixed addresses (API 1, istiod 2, ztunnel 3, …). */
export const firstFreeHost = 16;
const hostsPerHalf = 0x7f00;

export const apiAddress = (block: Block): string => `127.${block}.0.1`;
export const lockAddress = (block: Block): string => `127.${block}.255.254`;

/** Address of host number `n` (1 … 32511): `2` → 127.B.0.2. */
export const hostAddress = (block: Block, n: number): string =>
  `127.${block}.${(n >> 8) & 0x7f}.${n & 255}`;

/** Cluster IP number `n` (1 … 32511): `1` → 127.B.128.1. */
export const clusterAddress = (block: Block, n: number): string =>
  `127.${block}.${0x80 + ((n >> 8) & 0x7f)}.${n & 255}`;

export const inBlock = (block: Block, ip: string): boolean => ip.startsWith(`127.${block}.`);

export const isClusterAddress = (block: Block, ip: string): boolean =>
  inBlock(block, ip) && Number(ip.split('.')[2]) >= 0x80;

/** The next number after `last` whose address is not taken; skips .0 and .255. */
export function nextFree(
  last: number,
  from: number,
  address: (n: number) => string,
  taken: { has(ip: string): boolean },
): number | undefined {
  for (let step = 1; step <= hostsPerHalf; step++) {
    const n = from + ((last - from + step + hostsPerHalf) % hostsPerHalf);
    const low = n & 255;
    if (low === 0 || low === 255 || n >= hostsPerHalf) continue;
    if (!taken.has(address(n))) return n;
  }
  return undefined;
}
