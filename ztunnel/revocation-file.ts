// CRL_PATH: looked at every two seconds, so that a mounted file that is swapped counts soon. A broken file
// leaves the last good list in force (ztunnel-protocol.md 8.4).
import { readFile } from 'node:fs/promises';
import { loadRevocations, type Revocations } from '../certs/index.ts';
import type { Clock, Log, Timer } from '../core/base/index.ts';

const everyMs = 2_000;

export class RevocationFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #changed: () => void;
  #current: Revocations | undefined;
  #last: Buffer | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(path: string, deps: { clock: Clock; log: Log; changed: () => void }) {
    this.#path = path;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#changed = deps.changed;
  }

  get current(): Revocations | undefined {
    return this.#current;
  }

  /** Reads once; resolves when the list is in force or known to be absent. */
  async start(): Promise<void> {
    await this.#look();
    // A list may come later, with its Secret.
    if (!this.#last) this.#log.warn('there is no revocation list yet', { path: this.#path });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const bytes = await readFile(this.#path).catch(() => undefined);
    if (bytes && !this.#last?.equals(bytes)) this.#load(bytes);
    if (!this.#stopped) this.#timer = this.#clock.after(everyMs, () => void this.#look());
  }

  #load(bytes: Buffer): void {
    this.#last = bytes;
    try {
      this.#current = loadRevocations(bytes);
    } catch (error) {
      this.#log.warn('the revocation list cannot be read; the last good one stays', { error });
      return;
    }
    this.#changed();
  }
}
