// Waiting in tests: look again until it holds, up to a limit. No test sleeps for a fixed time.
import { setTimeout as pause } from 'node:timers/promises';

/** Repeats `look` until it returns something other than undefined or false; throws what it last threw. */
export async function eventually<T>(
  look: () => T | undefined | false | Promise<T | undefined | false>,
  what = 'condition',
  limitMs = 10_000,
): Promise<T> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`${what} did not come about within ${limitMs} ms`, { cause: last });
    }
    await pause(10);
  }
}
