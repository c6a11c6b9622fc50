// The proxy's own resolv.conf, read again when it has changed, at most once a second.
import { readFileSync, statSync } from 'node:fs';
import type { Clock } from '../../core/base/index.ts';
import { parseResolvConf, type ResolvConf } from '../../core/dns/index.ts';

const lookMs = 1_000;

export class ResolvFile {
  readonly #path: string;
  readonly #clock: Clock;
  #looked = Number.NEGATIVE_INFINITY;
  #changed = Number.NaN;
  #conf: ResolvConf = parseResolvConf('');

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  /** As last read; without servers as long as there is no such file. */
  read(): ResolvConf {
    const now = this.#clock.monotonic();
    if (now - this.#looked < lookMs) return this.#conf;
    this.#looked = now;
    try {
      const { mtimeMs } = statSync(this.#path);
      if (mtimeMs === this.#changed) return this.#conf;
      this.#conf = parseResolvConf(readFileSync(this.#path, 'utf8'));
      this.#changed = mtimeMs;
    } catch {
      // What was read last stays in force.
    }
    return this.#conf;
  }
}
