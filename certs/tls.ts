// TLS over any Duplex, both ends. The only place that makes a `Secured`: code behind it can rely on the
// peer being who it says, because our own checks run between the handshake and the first HTTP/2 frame.
//
// The accepting side is an unlistened tls.Server fed by 'connection' events: a hand-made server-side
// TLSSocket would let unverified peers in (style-models.md 3, the grave trap).
import { AsyncLocalStorage } from 'node:async_hooks';
import { constants, type X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { type Clock, type FaultCode, MeshError, printable } from '../core/base/index.ts';
import { type SpiffeId, trustDomainOf } from '../core/model/index.ts';
import { type CertificateFacts, readCertificate } from './certificate.ts';
import { type ChainVerdict, verifyChain } from './chain.ts';
import { KnownIssuers } from './issuers.ts';
import { pemToDer } from './pem.ts';
import { maxChainCertificates, type PeerName, type PeerRules, type Revocations } from './peer.ts';
import type { TrustMap } from './trust.ts';
import type { WorkloadCert } from './workload-cert.ts';

declare const proven: unique symbol;

/** One certificate of the peer's path, for evidence; never the certificate itself. */
export interface ChainEntry {
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SPIFFE id, if it has one. */
  readonly id?: string;
}

export interface PeerFacts extends PeerName {
  readonly serial: string;
  readonly notAfterMs: number;
  /** Leaf first, root last. */
  readonly chain: readonly ChainEntry[];
  /** `issuer/serial` of the whole path, to re-judge it when a revocation list changes. */
  readonly path: readonly CertificateFacts[];
}

export interface TlsFacts {
  readonly version: string;
  readonly cipher: string;
  readonly alpn: string;
}

/** A stream whose other end has proven its identity. */
export interface Secured {
  readonly [proven]: true;
  readonly stream: Duplex;
  readonly peer: PeerFacts;
  readonly tls: TlsFacts;
  readonly local: { readonly id: SpiffeId; readonly serial: string };
}

export interface TlsOptions {
  readonly clock: Clock;
  /** Trust domains that count as ours beside our own (design.md 6.4). */
  readonly aliases?: readonly string[];
  /** Read at each handshake, so that a reloaded list counts at once. */
  readonly revocations?: () => Revocations | undefined;
  /** Default 10 s (T1). */
  readonly handshakeMs?: number;
}

export interface AcceptorOptions extends TlsOptions {
  /** Asks for a certificate of ours from today's issuers; ends when there is an answer. Never rejects. */
  readonly renew?: () => Promise<void>;
}

const handshakeLimitMs = 10_000;
/** Handshakes one acceptor works on at a time; what comes beyond is shed (T10). */
const maxHandshakes = 256;
/** Of them, those of one address, so that nobody keeps the others out by beginning and leaving (T10, T11). */
const maxHandshakesOfOne = 64;

const common = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
  ecdhCurve: 'X25519:P-256:P-384:X25519MLKEM768',
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
} as const;

const issuers = new KnownIssuers();

function contextOptions(cert: WorkloadCert): tls.SecureContextOptions {
  for (const pem of cert.chain.slice(1)) issuers.remember(pemToDer(pem));
  return { ...common, key: cert.keyPem, cert: cert.chain.join(''), ca: [...cert.roots] };
}

// One context per certificate: making one costs more than the look-ups around it.
const contexts = new WeakMap<WorkloadCert, tls.SecureContext>();

function contextOf(cert: WorkloadCert): tls.SecureContext {
  let context = contexts.get(cert);
  if (!context) {
    context = tls.createSecureContext(contextOptions(cert));
    contexts.set(cert, context);
  }
  return context;
}

interface Attempt {
  readonly done: (socket: tls.TLSSocket) => void;
  readonly failed: (error: Error, socket: tls.TLSSocket | undefined) => void;
}

/** One identity's accepting side. */
export class TlsAcceptor {
  readonly #server: tls.Server;
  readonly #attempts = new AsyncLocalStorage<Attempt>();
  readonly #options: AcceptorOptions;
  #cert: WorkloadCert;
  #inFlight = 0;
  /** Address → handshakes begun from it. */
  readonly #from = new Map<string, number>();
  /** The attempt whose stream closed last: Node tells the reason right after, without our context. */
  #closing: Attempt | undefined;

  constructor(cert: WorkloadCert, options: AcceptorOptions) {
    this.#cert = cert;
    this.#options = options;
    this.#server = tls.createServer({
      ...contextOptions(cert),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      handshakeTimeout: 2 * (options.handshakeMs ?? handshakeLimitMs),
    });
    this.#server.on('secureConnection', (socket) => {
      socket.on('error', ignore);
      const attempt = this.#attempts.getStore();
      if (attempt) attempt.done(socket);
      else socket.destroy();
    });
    this.#server.on('tlsClientError', (error, socket) => {
      (this.#attempts.getStore() ?? this.#closing)?.failed(error, socket);
    });
  }

  /** The next handshake presents `cert`; running connections are left alone. */
  update(cert: WorkloadCert): void {
    this.#cert = cert;
    this.#server.setSecureContext(contextOptions(cert));
  }

  get cert(): WorkloadCert {
    return this.#cert;
  }

  /** Handshakes being worked on. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Handshake as server, then our checks. Rejects with MeshError TLS_HANDSHAKE, HANDSHAKE_TIMEOUT,
   * PEER_CERT_INVALID, PEER_TRUST_DOMAIN, PEER_UNTRUSTED or CERT_REVOKED; the stream is then destroyed.
   */
  async accept(stream: Duplex): Promise<Secured> {
    stream.on('error', ignore);
    const from = addressOf(stream);
    const ofIt = (this.#from.get(from) ?? 0) + 1;
    const fromOne = from !== '' && ofIt > maxHandshakesOfOne;
    if (fromOne || this.#inFlight >= maxHandshakes) {
      stream.destroy();
      const whose = fromOne ? ' of one address' : '';
      throw new MeshError('TLS_HANDSHAKE', { detail: `too many handshakes at once${whose}` });
    }
    this.#inFlight++;
    this.#from.set(from, ofIt);
    const cert = this.#cert;
    try {
      const socket = await this.#handshake(stream);
      const rules = { trustDomains: [trustDomainOf(cert.id), ...(this.#options.aliases ?? [])] };
      let verdict = examine(socket, cert, rules, this.#options);
      if (this.#options.renew && isIssuerUnknown(socket, verdict)) {
        await this.#options.renew();
        verdict = examine(socket, cert, rules, this.#options);
      }
      return prove(socket, cert, verdict);
    } catch (error) {
      stream.destroy();
      throw error;
    } finally {
      this.#inFlight--;
      const left = (this.#from.get(from) ?? 1) - 1;
      if (left > 0) this.#from.set(from, left);
      else this.#from.delete(from);
    }
  }

  #handshake(stream: Duplex): Promise<tls.TLSSocket> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void): void => {
        timer.cancel();
        stream.off('close', closed);
        end();
      };
      const limit = this.#options.handshakeMs ?? handshakeLimitMs;
      const timer = this.#options.clock.after(limit, () =>
        settle(() => reject(new MeshError('HANDSHAKE_TIMEOUT'))),
      );
      // One turn later: the reason of a refused certificate is told after the stream has closed.
      const closed = (): void => {
        this.#closing = attempt;
        setImmediate(() => {
          if (this.#closing === attempt) this.#closing = undefined;
          const detail = 'closed during handshake';
          settle(() => reject(new MeshError('TLS_HANDSHAKE', { detail })));
        });
      };
      const attempt: Attempt = {
        done: (socket) => settle(() => resolve(socket)),
        failed: (error, socket) => settle(() => reject(acceptFault(error, socket))),
      };
      stream.on('close', closed);
      this.#attempts.run(attempt, () => this.#server.emit('connection', stream));
    });
  }
}

/**
 * Handshake as client; the peer must prove one of `expected`. Rejects with MeshError TLS_FAILED,
 * PEER_UNTRUSTED, PEER_CERT_INVALID, PEER_TRUST_DOMAIN, PEER_IDENTITY_MISMATCH or CERT_REVOKED and
 * destroys the stream. Note that the other side may still refuse us after this succeeded: only an answer
 * to CONNECT proves acceptance.
 */
export async function connectTls(
  stream: Duplex,
  cert: WorkloadCert,
  expected: readonly SpiffeId[],
  options: TlsOptions,
): Promise<Secured> {
  stream.on('error', ignore);
  const trustDomains = [trustDomainOf(cert.id), ...(options.aliases ?? [])];
  try {
    const socket = await clientHandshake(stream, cert, options);
    return prove(socket, cert, examine(socket, cert, { trustDomains, expected }, options));
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

function clientHandshake(
  stream: Duplex,
  cert: WorkloadCert,
  options: TlsOptions,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const timer = options.clock.after(options.handshakeMs ?? handshakeLimitMs, () =>
      settle(() => reject(new MeshError('TLS_FAILED', { detail: 'handshake timed out' }))),
    );
    const settle = (end: () => void): void => {
      timer.cancel();
      socket.off('close', closed);
      end();
    };
    const closed = (): void =>
      settle(() => reject(new MeshError('TLS_FAILED', { detail: 'closed during handshake' })));
    // A fresh handshake always: no session is ever handed in (S20).
    const socket = tls.connect({
      socket: stream,
      secureContext: contextOf(cert),
      ALPNProtocols: ['h2'],
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined,
    });
    socket.on('close', closed);
    socket.on('error', (error) => settle(() => reject(connectFault(error))));
    socket.once('secureConnect', () => settle(() => resolve(socket)));
  });
}

/** Our checks on a finished handshake. */
function examine(
  socket: tls.TLSSocket,
  cert: WorkloadCert,
  rules: PeerRules,
  options: TlsOptions,
): ChainVerdict {
  const revoked = options.revocations?.();
  const trust: TrustMap = new Map(rules.trustDomains.map((td) => [td, cert.roots]));
  const all = { ...rules, ...(revoked && { revoked }) };
  return judge(socket, trust, all, options.clock.now());
}

/** The library found a path to our roots through certificates that it does not show (issuers.ts). */
const isIssuerUnknown = (socket: tls.TLSSocket, verdict: ChainVerdict): boolean =>
  !verdict.ok && verdict.code === 'PEER_UNTRUSTED' && socket.authorized && !socket.destroyed;

/** The only maker of `Secured`. */
function prove(socket: tls.TLSSocket, cert: WorkloadCert, verdict: ChainVerdict): Secured {
  if (!verdict.ok) {
    socket.destroy();
    const detail = `${verdict.rule}: ${printable(verdict.detail, 400)}`;
    throw new MeshError(verdict.code, { detail });
  }
  const [leaf] = verdict.path;
  const facts: Omit<Secured, typeof proven> = {
    stream: socket,
    peer: {
      ...verdict.peer,
      serial: leaf?.serial ?? '',
      notAfterMs: leaf?.notAfterMs ?? 0,
      chain: verdict.path.map(entryOf),
      path: verdict.path,
    },
    tls: {
      version: socket.getProtocol() ?? '',
      cipher: socket.getCipher().standardName,
      alpn: socket.alpnProtocol || '',
    },
    local: { id: cert.id, serial: cert.serial },
  };
  return facts as Secured;
}

function judge(
  socket: tls.TLSSocket,
  trust: TrustMap,
  rules: PeerRules,
  nowMs: number,
): ChainVerdict {
  if (!socket.authorized) {
    return { ok: false, code: 'PEER_UNTRUSTED', rule: 'S7', detail: 'not authorized' };
  }
  if (socket.alpnProtocol !== 'h2') {
    return {
      ok: false,
      code: 'TLS_HANDSHAKE',
      rule: 'T3',
      detail: 'the protocol h2 was not agreed',
    };
  }
  const sent = sentChain(socket);
  if (sent.length === 1) return verifyChain(sent, trust, rules, nowMs, issuers.all());
  const verdict = verifyChain(sent, trust, rules, nowMs);
  if (verdict.ok) {
    const path = new Set(verdict.path.map((c) => c.serial));
    for (const der of sent.slice(1))
      if (path.has(readCertificate(der)?.serial ?? '')) issuers.remember(der);
  }
  return verdict;
}

/** What the peer sent, leaf first; one more than allowed is enough to refuse. */
function sentChain(socket: tls.TLSSocket): Uint8Array[] {
  const out: Uint8Array[] = [];
  let next: X509Certificate | undefined = socket.getPeerX509Certificate();
  while (next && out.length <= maxChainCertificates) {
    out.push(next.raw);
    next = next.issuerCertificate;
  }
  return out;
}

function entryOf(c: CertificateFacts): ChainEntry {
  const id = c.names?.uris[0];
  return {
    serial: c.serial,
    notBefore: new Date(c.notBeforeMs).toISOString(),
    notAfter: new Date(c.notAfterMs).toISOString(),
    ...(id !== undefined && { id: printable(id) }),
  };
}

/** Empty where the stream is no socket. */
const addressOf = (stream: Duplex): string =>
  'remoteAddress' in stream && typeof stream.remoteAddress === 'string' ? stream.remoteAddress : '';

function ignore(): void {
  // Whoever owns the stream hears of its end by 'close'; an error without a listener ends the process.
}

const codeOf = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : error.message;

// OpenSSL's verification results as Node names them.
const untrusted: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
]);
const invalid: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
]);

function verificationCode(reason: string): FaultCode | undefined {
  if (untrusted.has(reason)) return 'PEER_UNTRUSTED';
  return invalid.has(reason) ? 'PEER_CERT_INVALID' : undefined;
}

function acceptFault(error: Error, socket: tls.TLSSocket | undefined): MeshError {
  const refused = socket?.authorizationError as unknown;
  const reason = typeof refused === 'string' ? refused : codeOf(error);
  if (reason === 'ERR_TLS_HANDSHAKE_TIMEOUT') return new MeshError('HANDSHAKE_TIMEOUT');
  const code = verificationCode(reason) ?? 'TLS_HANDSHAKE';
  return new MeshError(code, { detail: printable(reason), cause: error });
}

function connectFault(error: Error): MeshError {
  const reason = codeOf(error);
  const code = verificationCode(reason) ?? 'TLS_FAILED';
  return new MeshError(code, { detail: printable(reason), cause: error });
}
