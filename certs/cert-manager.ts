// Holds the certificates of the workloads this process speaks for: carries out what cert-plan.ts says,
// lets any number of callers wait for one fetch, and hands every change to its listeners.
import {
  type Clock,
  fromUnknown,
  type Log,
  MeshError,
  printable,
  type Random,
  type Timer,
} from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import type { CaClient } from './ca-client.ts';
import {
  type CertAction,
  type CertEvent,
  CertPlan,
  type CertPlanOptions,
  type CertStatus,
  type Instant,
  type Priority,
} from './cert-plan.ts';
import { createCsr } from './csr.ts';
import { makeWorkloadCert, type WorkloadCert } from './workload-cert.ts';

export interface CertManagerOptions {
  readonly ca: CaClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Default 86,400. */
  readonly ttlSeconds?: number;
  /** One request's limit; default 10 s. */
  readonly fetchMs?: number;
  readonly plan?: CertPlanOptions;
}

export interface CertSnapshot {
  readonly id: SpiffeId;
  readonly status: CertStatus;
  /** Absent until the first answer. */
  readonly cert?: WorkloadCert;
}

/** Renewals out of turn, for one identity. */
const renewEachMs = 60_000;

interface Waiter {
  readonly done: (cert: WorkloadCert) => void;
  readonly failed: (error: MeshError) => void;
}

/** The narrow side that connections are given. */
export interface CertSource {
  /**
   * The certificate in force, or the next one: starts a fetch if needed. Rejects with MeshError
   * CERT_UNAVAILABLE when the attempt fails, or at once when the last one failed a moment ago.
   */
  get(id: SpiffeId): Promise<WorkloadCert>;
  /** The certificate in force, without asking for one. */
  current(id: SpiffeId): WorkloadCert | undefined;
}

export class CertManager implements CertSource {
  readonly #options: CertManagerOptions;
  readonly #plan: CertPlan;
  readonly #certs = new Map<SpiffeId, WorkloadCert>();
  readonly #waiters = new Map<SpiffeId, Set<Waiter>>();
  readonly #fetches = new Map<SpiffeId, AbortController>();
  readonly #listeners = new Set<(cert: WorkloadCert) => void>();
  readonly #renewals = new Map<SpiffeId, { readonly atMs: number; readonly done: Promise<void> }>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: CertManagerOptions) {
    this.#options = options;
    this.#plan = new CertPlan(options.random, options.plan);
  }

  /** Prefetch; never rejects. */
  want(id: SpiffeId, priority: Priority): void {
    this.#step({ kind: 'want', id, priority });
  }

  current(id: SpiffeId): WorkloadCert | undefined {
    const cert = this.#certs.get(id);
    return cert && cert.notAfterMs > this.#options.clock.now() ? cert : undefined;
  }

  get(id: SpiffeId): Promise<WorkloadCert> {
    const cert = this.current(id);
    if (cert) return Promise.resolve(cert);
    if (this.#stopped) return Promise.reject(new MeshError('DRAINING'));
    this.#step({ kind: 'want', id, priority: 'real-time' });
    const status = this.#plan.status(id);
    if (status?.state === 'unavailable' && !this.#plan.busy(id, this.#now())) {
      return Promise.reject(new MeshError('CERT_UNAVAILABLE', { detail: status.reason }));
    }
    return new Promise((done, failed) => {
      const waiters = this.#waiters.get(id) ?? new Set();
      waiters.add({ done, failed });
      this.#waiters.set(id, waiters);
    });
  }

  /**
   * Asks for a new certificate although the one in force is good: a peer came with an issuer we have not met, and the
   * CA tells us of its issuers with every certificate. Ends when there is an answer, good or bad; at once if the last
   * such wish was less than a minute ago.
   */
  async renew(id: SpiffeId): Promise<void> {
    const now = this.#options.clock.monotonic();
    const last = this.#renewals.get(id);
    if (last && now - last.atMs < renewEachMs) return last.done;
    if (this.#stopped || !this.current(id)) return;
    const done = new Promise<void>((resolve) => {
      const waiters = this.#waiters.get(id) ?? new Set();
      waiters.add({ done: () => resolve(), failed: () => resolve() });
      this.#waiters.set(id, waiters);
    });
    this.#renewals.set(id, { atMs: now, done });
    this.#step({ kind: 'renew', id });
    return done;
  }

  /** No workload with this identity is left; waiters are told. */
  forget(id: SpiffeId): void {
    this.#certs.delete(id);
    this.#renewals.delete(id);
    this.#fetches.get(id)?.abort();
    this.#fetches.delete(id);
    this.#fail(
      id,
      new MeshError('CERT_UNAVAILABLE', { detail: 'the identity is no longer needed' }),
    );
    this.#step({ kind: 'forget', id });
  }

  /** Called with each new certificate; returns how to stop. */
  onCert(listener: (cert: WorkloadCert) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  snapshot(ids: Iterable<SpiffeId> = this.#known()): CertSnapshot[] {
    return [...ids].map((id) => {
      const cert = this.#certs.get(id);
      const status = this.#plan.status(id) ?? { state: 'initializing' as const };
      return { id, status, ...(cert && { cert }) };
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const fetch of this.#fetches.values()) fetch.abort();
    for (const id of this.#waiters.keys()) this.#fail(id, new MeshError('DRAINING'));
  }

  #known(): SpiffeId[] {
    return [...this.#seen].toSorted();
  }

  readonly #seen = new Set<SpiffeId>();

  #now(): Instant {
    const { clock } = this.#options;
    return { wallMs: clock.now(), monoMs: clock.monotonic() };
  }

  #step(event: CertEvent): void {
    if (this.#stopped) return;
    if (event.kind === 'want') this.#seen.add(event.id);
    if (event.kind === 'forget') this.#seen.delete(event.id);
    for (const action of this.#plan.step(event, this.#now())) this.#perform(action);
  }

  #perform(action: CertAction): void {
    switch (action.do) {
      case 'fetch':
        void this.#fetch(action.id);
        break;
      case 'expire':
        this.#certs.delete(action.id);
        this.#options.log.warn('certificate expired', { identity: action.id });
        break;
      case 'wake': {
        this.#timer?.cancel();
        const wait = action.monoMs - this.#options.clock.monotonic();
        this.#timer = this.#options.clock.after(wait, () => this.#step({ kind: 'tick' }));
        break;
      }
    }
  }

  async #fetch(id: SpiffeId): Promise<void> {
    const { clock, ca, log } = this.#options;
    const abort = new AbortController();
    const timer = clock.after(this.#options.fetchMs ?? 10_000, () =>
      abort.abort(new MeshError('CERT_UNAVAILABLE', { detail: 'the CA did not answer in time' })),
    );
    this.#fetches.set(id, abort);
    try {
      const cert = await this.#request(id, ca, abort.signal);
      if (abort.signal.aborted) return;
      this.#certs.set(id, cert);
      const { notBeforeMs, notAfterMs } = cert;
      this.#step({ kind: 'fetched', id, notBeforeMs, notAfterMs });
      log.debug('certificate issued', { identity: id, serial: cert.serial });
      this.#announce(cert);
    } catch (error) {
      if (this.#fetches.get(id) !== abort) return;
      const fault = fromUnknown(error, 'CERT_UNAVAILABLE');
      const detail = printable(fault.detail ?? fault.message, 300);
      log.warn('certificate could not be obtained', { identity: id, error: detail });
      this.#step({ kind: 'failed', id, reason: detail });
      this.#fail(id, new MeshError('CERT_UNAVAILABLE', { detail, cause: error }));
    } finally {
      timer.cancel();
      if (this.#fetches.get(id) === abort) this.#fetches.delete(id);
    }
  }

  async #request(id: SpiffeId, ca: CaClient, signal: AbortSignal): Promise<WorkloadCert> {
    const { csr, keyPem } = await createCsr(id);
    const ttlSeconds = this.#options.ttlSeconds ?? 86_400;
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    const signed = await Promise.race([
      ca.sign({ csr, identity: id, ttlSeconds, signal }),
      aborted,
    ]);
    return makeWorkloadCert(id, keyPem, signed, this.#options.clock.now());
  }

  #announce(cert: WorkloadCert): void {
    for (const listener of this.#listeners) listener(cert);
    const waiters = this.#waiters.get(cert.id);
    this.#waiters.delete(cert.id);
    for (const w of waiters ?? []) w.done(cert);
  }

  #fail(id: SpiffeId, error: MeshError): void {
    const waiters = this.#waiters.get(id);
    this.#waiters.delete(id);
    for (const w of waiters ?? []) w.failed(error);
  }
}
