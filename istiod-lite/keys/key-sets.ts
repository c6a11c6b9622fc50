// Key sets of token issuers, fetched here and given to waypoints with their rules, so that a waypoint needs no way out
// (waypoint-l7.md 7.3). Each is fetched once for everybody, renewed, and kept while its server fails.
import { type Cidr, type Clock, type Log, parseCidr, type Timer } from '../../core/base/index.ts';
import { fetchText } from './fetch.ts';
import { readKeySet } from './key-set.ts';
import { failed, neverFetched, type Refresh, succeeded, waitFor } from './refresh-state.ts';

/** Where keys are: at an address, or where the issuer's own document says (OpenID Connect Discovery 4). */
export interface KeySource {
  readonly kind: 'jwks' | 'issuer';
  readonly url: string;
  readonly timeoutMs: number;
}

export interface KeyAnswer {
  readonly keys?: string | undefined;
  /** Why there are none, or none that are fresh. */
  readonly fault?: string | undefined;
}

interface Entry {
  source: KeySource;
  state: Refresh;
  timer: Timer | undefined;
  running: boolean;
}

const maxBytes = 1 << 20;
const maxSources = 1_000;
const keyOf = (s: KeySource): string => `${s.kind} ${s.url}`;

function jwksUri(document: string): string {
  const found = (JSON.parse(document) as { jwks_uri?: unknown } | null)?.jwks_uri;
  if (typeof found !== 'string') throw new Error('its discovery document has no jwks_uri');
  return found;
}

export class KeySets {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #blocked: readonly Cidr[];
  readonly #changed: () => void;
  readonly #entries = new Map<string, Entry>();
  #stopped = false;

  constructor(o: {
    readonly clock: Clock;
    readonly log: Log;
    readonly blocked: readonly string[];
    /** Keys came or changed, or could not be had for the first time. */
    readonly changed: () => void;
  }) {
    this.#clock = o.clock;
    this.#log = o.log;
    this.#blocked = o.blocked.map(parseCidr).filter((c) => c !== undefined);
    this.#changed = o.changed;
  }

  /** Exactly these are kept. */
  want(sources: Iterable<KeySource>): void {
    const wanted = new Map<string, KeySource>();
    for (const s of sources) if (wanted.size < maxSources) wanted.set(keyOf(s), s);
    for (const [key, e] of this.#entries) {
      if (wanted.has(key)) continue;
      e.timer?.cancel();
      this.#entries.delete(key);
    }
    for (const [key, source] of wanted) {
      const known = this.#entries.get(key);
      if (known) known.source = source;
      else {
        const entry = { source, state: neverFetched, timer: undefined, running: false };
        this.#entries.set(key, entry);
        void this.#refresh(key, entry);
      }
    }
  }

  lookup(source: KeySource): KeyAnswer {
    const state = this.#entries.get(keyOf(source))?.state;
    if (!state) return { fault: 'it was not fetched yet' };
    const pending = state.failures === 0 && state.keys === undefined;
    return { keys: state.keys, fault: pending ? 'it was not fetched yet' : state.fault };
  }

  stop(): void {
    this.#stopped = true;
    for (const e of this.#entries.values()) e.timer?.cancel();
    this.#entries.clear();
  }

  async #refresh(key: string, e: Entry): Promise<void> {
    if (e.running) return;
    e.running = true;
    const before = e.state;
    const { url, kind } = e.source;
    try {
      const limits = { timeoutMs: e.source.timeoutMs, maxBytes, blocked: this.#blocked };
      const well = `${url.replace(/\/$/, '')}/.well-known/openid-configuration`;
      const where = kind === 'jwks' ? url : jwksUri(await fetchText(well, limits));
      const read = readKeySet(await fetchText(where, limits));
      if ('fault' in read) throw new Error(read.fault);
      e.state = succeeded(read.keys, this.#clock.now());
    } catch (error) {
      const fault = error instanceof Error ? error.message : 'unknown error';
      e.state = failed(before, fault, this.#clock.now());
      this.#log.warn('cannot fetch a key set', {
        url,
        kind,
        fault,
        had: before.keys !== undefined,
      });
    }
    e.running = false;
    if (this.#stopped || this.#entries.get(key) !== e) return;
    e.timer = this.#clock.after(waitFor(e.state), () => void this.#refresh(key, e));
    if (e.state.keys !== before.keys || e.state.fault !== before.fault) this.#changed();
  }
}
