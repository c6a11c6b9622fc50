// The real clock and chance.
import { randomFillSync } from 'node:crypto';
import type { Clock, Random } from '../base/index.ts';

// setTimeout takes at most 2^31 − 1 ms; a longer wait is made of several.
const longest = 2 ** 31 - 1;

function arm(ms: number, work: () => void): { cancel(): void } {
  let handle: NodeJS.Timeout;
  const step = (left: number): void => {
    const now = Math.min(left, longest);
    handle = setTimeout(() => (left > now ? step(left - now) : work()), now);
    handle.unref();
  };
  step(Math.max(0, ms));
  return { cancel: () => clearTimeout(handle) };
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: arm,
};

// Drawn in one go for many: asking the system for each number cost more than the request's routing.
const bytesEach = 6;
const pool = Buffer.alloc(bytesEach * 512);
let at = pool.length;

/** Cryptographic source: trace ids and jitter must not be guessable from one another. */
export const systemRandom: Random = {
  next() {
    if (at === pool.length) {
      randomFillSync(pool);
      at = 0;
    }
    const value = pool.readUIntBE(at, bytesEach);
    pool.fill(0, at, at + bytesEach);
    at += bytesEach;
    return value / 2 ** (8 * bytesEach);
  },
};
