// When to ask the CA for which identity (ztunnel-protocol.md 8.3, design.md 6.7): a step function, told
// what happened and when, answering what to do. The manager owns timers, keys and the network.
//
// Life of an identity:  want → queued → fetching → available ⇄ fetching (renewal)
//                                           └→ unavailable → queued (back-off, or at once when a
//                                              connection waits)
import { type BackoffPlan, backoffDelay, type Random } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';

export const priorities = ['background', 'warm-up', 'real-time'] as const;
export type Priority = (typeof priorities)[number];

/** Wall time judges certificates, monotonic time measures waits: a clock jump starts no storm. */
export interface Instant {
  readonly wallMs: number;
  readonly monoMs: number;
}

export type CertEvent =
  | { readonly kind: 'want'; readonly id: SpiffeId; readonly priority: Priority }
  | {
      readonly kind: 'fetched';
      readonly id: SpiffeId;
      readonly notBeforeMs: number;
      readonly notAfterMs: number;
    }
  | { readonly kind: 'failed'; readonly id: SpiffeId; readonly reason: string }
  /** The certificate in hand is good, but its issuers may not be today's any more. */
  | { readonly kind: 'renew'; readonly id: SpiffeId }
  | { readonly kind: 'forget'; readonly id: SpiffeId }
  | { readonly kind: 'tick' };

export type CertAction =
  | { readonly do: 'fetch'; readonly id: SpiffeId }
  /** Call `tick` at this monotonic time; replaces an earlier wish. */
  | { readonly do: 'wake'; readonly monoMs: number }
  /** The certificate in hand has run out and must not be used any more. */
  | { readonly do: 'expire'; readonly id: SpiffeId };

export type CertStatus =
  | { readonly state: 'initializing' }
  | { readonly state: 'available'; readonly notAfterMs: number; readonly lastError?: string }
  | { readonly state: 'unavailable'; readonly reason: string };

export interface CertPlanOptions {
  readonly inFlight: number;
  readonly backoff: BackoffPlan;
  /** A waiting connection may cause a new attempt this long after the last one failed. */
  readonly eagerMs: number;
  /** Renewal point as a fraction of the lifetime, ± jitter. */
  readonly renewAt: number;
  readonly renewJitter: number;
}

export const defaultCertPlan: CertPlanOptions = {
  inFlight: 8,
  backoff: { firstMs: 1_000, capMs: 150_000, jitter: 0.2 },
  eagerMs: 1_000,
  renewAt: 0.5,
  renewJitter: 0.05,
};

interface Entry {
  readonly id: SpiffeId;
  status: CertStatus;
  priority: Priority;
  /** Monotonic time of the next attempt; `undefined` while fetching. */
  dueMs: number | undefined;
  attempt: number;
  failedAtMs: number;
}

const rank = (p: Priority): number => priorities.indexOf(p);

export class CertPlan {
  readonly #options: CertPlanOptions;
  readonly #random: Random;
  readonly #entries = new Map<SpiffeId, Entry>();
  #fetching = 0;

  constructor(random: Random, options: CertPlanOptions = defaultCertPlan) {
    this.#random = random;
    this.#options = options;
  }

  step(event: CertEvent, now: Instant): CertAction[] {
    const actions: CertAction[] = [];
    switch (event.kind) {
      case 'want':
        this.#want(event.id, event.priority, now);
        break;
      case 'fetched':
        this.#fetched(event, now);
        break;
      case 'failed':
        this.#failed(event.id, event.reason, now, actions);
        break;
      case 'renew':
        this.#renew(event.id, now);
        break;
      case 'forget':
        if (this.#entries.get(event.id)?.dueMs === undefined && this.#entries.has(event.id)) {
          this.#fetching--;
        }
        this.#entries.delete(event.id);
        break;
      case 'tick':
        break;
    }
    this.#expire(now, actions);
    this.#start(now, actions);
    return actions;
  }

  status(id: SpiffeId): CertStatus | undefined {
    return this.#entries.get(id)?.status;
  }

  /** Whether an answer is on its way or an attempt is due, so that waiting makes sense. */
  busy(id: SpiffeId, now: Instant): boolean {
    const e = this.#entries.get(id);
    return e !== undefined && (e.dueMs === undefined || e.dueMs <= now.monoMs);
  }

  get size(): number {
    return this.#entries.size;
  }

  #want(id: SpiffeId, priority: Priority, now: Instant): void {
    const e = this.#entries.get(id);
    if (!e) {
      this.#entries.set(id, {
        id,
        status: { state: 'initializing' },
        priority,
        dueMs: now.monoMs,
        attempt: 0,
        failedAtMs: Number.NEGATIVE_INFINITY,
      });
      return;
    }
    if (e.status.state === 'available') return;
    if (rank(priority) > rank(e.priority)) e.priority = priority;
    const eager = e.failedAtMs + this.#options.eagerMs;
    if (priority === 'real-time' && e.dueMs !== undefined && e.dueMs > now.monoMs) {
      e.dueMs = Math.min(e.dueMs, Math.max(eager, now.monoMs));
    }
  }

  #renew(id: SpiffeId, now: Instant): void {
    const e = this.#entries.get(id);
    if (e?.status.state !== 'available' || e.dueMs === undefined) return;
    e.priority = 'real-time';
    e.dueMs = Math.min(e.dueMs, now.monoMs);
  }

  #fetched(event: Extract<CertEvent, { kind: 'fetched' }>, now: Instant): void {
    const e = this.#entries.get(event.id);
    if (!e) return;
    this.#fetching--;
    const { renewAt, renewJitter } = this.#options;
    const part = renewAt + renewJitter * (2 * this.#random.next() - 1);
    const renewMs = event.notBeforeMs + part * (event.notAfterMs - event.notBeforeMs);
    e.status = { state: 'available', notAfterMs: event.notAfterMs };
    e.priority = 'background';
    e.attempt = 0;
    e.dueMs = now.monoMs + Math.max(this.#options.eagerMs, renewMs - now.wallMs);
  }

  #failed(id: SpiffeId, reason: string, now: Instant, actions: CertAction[]): void {
    const e = this.#entries.get(id);
    if (!e) return;
    this.#fetching--;
    const wait = backoffDelay(this.#options.backoff, e.attempt++, this.#random);
    e.failedAtMs = now.monoMs;
    e.dueMs = now.monoMs + wait;
    if (e.status.state === 'available' && e.status.notAfterMs > now.wallMs) {
      e.status = { ...e.status, lastError: reason };
      e.dueMs = Math.min(e.dueMs, now.monoMs + (e.status.notAfterMs - now.wallMs));
      return;
    }
    if (e.status.state === 'available') actions.push({ do: 'expire', id });
    e.status = { state: 'unavailable', reason };
  }

  #expire(now: Instant, actions: CertAction[]): void {
    for (const e of this.#entries.values()) {
      if (e.status.state !== 'available' || e.status.notAfterMs > now.wallMs) continue;
      actions.push({ do: 'expire', id: e.id });
      e.status = {
        state: 'unavailable',
        reason: e.status.lastError ?? 'the certificate has expired',
      };
      if (e.dueMs !== undefined) e.dueMs = Math.min(e.dueMs, now.monoMs);
    }
  }

  /** Starts what is due, most urgent first, and says when to look again. */
  #start(now: Instant, actions: CertAction[]): void {
    const due: Entry[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const e of this.#entries.values()) {
      if (e.status.state === 'available') {
        next = Math.min(next, now.monoMs + e.status.notAfterMs - now.wallMs);
      }
      if (e.dueMs === undefined) continue;
      if (e.dueMs <= now.monoMs) due.push(e);
      else next = Math.min(next, e.dueMs);
    }
    due.sort((a, b) => rank(b.priority) - rank(a.priority) || (a.dueMs ?? 0) - (b.dueMs ?? 0));
    for (const e of due) {
      if (this.#fetching >= this.#options.inFlight) break;
      this.#fetching++;
      e.dueMs = undefined;
      actions.push({ do: 'fetch', id: e.id });
    }
    if (next < Number.POSITIVE_INFINITY) actions.push({ do: 'wake', monoMs: next });
  }
}
