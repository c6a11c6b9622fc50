// Answers of other servers, kept for as long as they say, and a little longer for when no server answers
// (RFC 8767, checklist F31). Pure: time is an argument, in milliseconds.
import { aged, idOf, readAnswer, withId } from './message.ts';

interface Entry {
  readonly answer: Uint8Array;
  readonly places: readonly number[];
  readonly at: number;
  readonly ttlMs: number;
}

const mostEntries = 1024;
const mostTtlSeconds = 3_600;
const staleMs = 60_000;
/** Seconds that a stale answer is given to live. */
const staleTtl = 5;

export class DnsCache {
  /** Oldest first. */
  readonly #entries = new Map<string, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** Keeps an answer that says how long it lives; others leave no trace. */
  put(query: Uint8Array, protocol: string, answer: Uint8Array, now: number): void {
    const facts = readAnswer(answer, query);
    if (!facts || facts.rcode !== 0 || facts.truncated || facts.count === 0) return;
    if (facts.ttl === undefined || facts.ttl === 0) return;
    const key = keyOf(query, protocol);
    this.#entries.delete(key);
    const ttlMs = Math.min(facts.ttl, mostTtlSeconds) * 1000;
    this.#entries.set(key, { answer, places: facts.ttlPlaces, at: now, ttlMs });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= mostEntries) break;
      this.#entries.delete(oldest);
    }
  }

  /** The answer with the query's id and the time that it still lives; `stale` also a little later. */
  get(query: Uint8Array, protocol: string, now: number, stale = false): Uint8Array | undefined {
    const key = keyOf(query, protocol);
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const age = now - entry.at;
    if (age >= entry.ttlMs + staleMs) this.#entries.delete(key);
    if (age >= entry.ttlMs + (stale ? staleMs : 0)) return undefined;
    const seconds = Math.floor(age / 1000);
    const left = age < entry.ttlMs ? 0 : staleTtl;
    return withId(aged(entry.answer, entry.places, seconds, left), idOf(query));
  }
}

/** All of the query but its id: flags, question and EDNS decide what an answer holds. */
const keyOf = (query: Uint8Array, protocol: string): string =>
  `${protocol} ${Buffer.from(query.subarray(2)).toString('latin1')}`;
