// The TLS of callers from outside the mesh: they prove nothing, the gateway shows the certificate that fits the name
// they ask for. Nobody gets a `Secured` here.
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { type Clock, MeshError, printable } from '../core/base/index.ts';

export interface EdgeCertificate {
  /** PEM, leaf first. */
  readonly certificates: string;
  /** PEM. */
  readonly privateKey: string;
}

export interface EdgeStream {
  readonly stream: Duplex;
  readonly alpn: string;
}

const handshakeLimitMs = 10_000;

/** The hybrid first; alone where nothing else may be. */
const hybrid = 'X25519MLKEM768';
const groups = `${hybrid}:X25519:P-256:P-384`;

const leaves = new WeakMap<EdgeCertificate, X509Certificate>();

function leafOf(c: EdgeCertificate): X509Certificate {
  let leaf = leaves.get(c);
  if (!leaf) {
    leaf = new X509Certificate(c.certificates);
    leaves.set(c, leaf);
  }
  return leaf;
}

/** 2 = made out to that name, 1 = by a wildcard, 0 = not. */
function fitness(c: EdgeCertificate, serverName: string): number {
  if (serverName === '') return 0;
  const fits = (wildcards: boolean): boolean =>
    leafOf(c).checkHost(serverName, { subject: 'never', wildcards }) !== undefined;
  return fits(false) ? 2 : fits(true) ? 1 : 0;
}

/**
 * What is shown to who asks for that name: of those made out to it, else of those by a wildcard, the first of each type of
 * key. Where there is none, the first of all, and those beside it for the same names.
 */
export function certificatesFor(
  all: readonly EdgeCertificate[],
  serverName: string,
): readonly EdgeCertificate[] {
  const [first] = all;
  if (!first || all.length === 1) return all;
  const best = Math.max(...all.map((c) => fitness(c, serverName)));
  const names = leafOf(first).subjectAltName;
  const fitting = all.filter((c) =>
    best > 0 ? fitness(c, serverName) === best : leafOf(c).subjectAltName === names,
  );
  const byType = new Map<string, EdgeCertificate>();
  for (const c of fitting) {
    const type = leafOf(c).publicKey.asymmetricKeyType ?? '';
    if (!byType.has(type)) byType.set(type, c);
  }
  return [...byType.values()];
}

/** By the list they were chosen from, then by which of it. */
const contexts = new WeakMap<readonly EdgeCertificate[], Map<string, tls.SecureContext>>();
/** Shows no certificate: every handshake fails. */
let nothing: tls.SecureContext | undefined;

function contextOf(
  all: readonly EdgeCertificate[],
  serverName: string,
  hybridOnly: boolean,
): tls.SecureContext {
  if (all.length === 0) return (nothing ??= tls.createSecureContext({}));
  const chosen = certificatesFor(all, serverName);
  const known = contexts.get(all) ?? new Map<string, tls.SecureContext>();
  contexts.set(all, known);
  const key = `${hybridOnly}:${chosen.map((c) => all.indexOf(c)).join()}`;
  let context = known.get(key);
  if (!context) {
    context = tls.createSecureContext({
      minVersion: hybridOnly ? 'TLSv1.3' : 'TLSv1.2',
      cert: chosen.map((c) => c.certificates),
      key: chosen.map((c) => c.privateKey),
      ecdhCurve: hybridOnly ? hybrid : groups,
      honorCipherOrder: true,
    });
    known.set(key, context);
  }
  return context;
}

export interface EdgeOptions {
  readonly clock: Clock;
  readonly handshakeMs?: number;
  /** Keys are exchanged by X25519MLKEM768 or not at all. */
  readonly hybridOnly?: boolean;
  /** Default: HTTP/2 before HTTP/1.1. */
  readonly alpn?: readonly string[];
}

/**
 * Handshake as server with who asks for `serverName`, in lower case, empty where it sends none: it must be known before,
 * since only a context that is there from the start shows certificates of several types. Of those given the ones are shown
 * that fit the name best; none = no handshake. Rejects with TLS_HANDSHAKE or HANDSHAKE_TIMEOUT; the stream is then destroyed.
 */
export function acceptEdge(
  stream: Duplex,
  certificates: readonly EdgeCertificate[],
  serverName: string,
  o: EdgeOptions,
): Promise<EdgeStream> {
  const { hybridOnly = false, alpn = ['h2', 'http/1.1'] } = o;
  return new Promise((resolve, reject) => {
    const fail = (error: MeshError): void => {
      timer.cancel();
      stream.destroy();
      reject(error);
    };
    const timer = o.clock.after(o.handshakeMs ?? handshakeLimitMs, () =>
      fail(new MeshError('HANDSHAKE_TIMEOUT')),
    );
    let socket: tls.TLSSocket;
    try {
      socket = new tls.TLSSocket(stream, {
        isServer: true,
        secureContext: contextOf(certificates, serverName, hybridOnly),
        ...(alpn.length > 0 && { ALPNProtocols: [...alpn] }),
      });
    } catch (error) {
      return fail(new MeshError('TLS_HANDSHAKE', { cause: error }));
    }
    socket.on('error', (error) => {
      fail(new MeshError('TLS_HANDSHAKE', { detail: printable(error.message, 200) }));
    });
    socket.on('close', () =>
      fail(new MeshError('TLS_HANDSHAKE', { detail: 'closed during handshake' })),
    );
    socket.once('secure', () => {
      const { servername } = socket as { servername?: string | false };
      if ((servername || '').toLowerCase() !== serverName) {
        return fail(new MeshError('TLS_HANDSHAKE', { detail: 'another server name' }));
      }
      timer.cancel();
      socket.removeAllListeners('close');
      resolve({ stream: socket, alpn: socket.alpnProtocol || '' });
    });
  });
}

/** A URI is written out there; a name may also be one that a wildcard of the certificate stands for. */
function isNamed(cert: tls.PeerCertificate, wanted: string): boolean {
  const given = (cert.subjectaltname ?? '').split(', ');
  if (wanted.includes(':')) return given.includes(`URI:${wanted}`);
  const name = wanted.toLowerCase();
  if (given.some((n) => n.toLowerCase() === `dns:${name}`)) return true;
  return !name.startsWith('*') && tls.checkServerIdentity(name, cert) === undefined;
}

/** How a server outside the mesh is spoken to. */
export interface OutsideTls {
  readonly sni: string;
  /** Names or URIs: one of these must be among its own; none = the one that was asked for. */
  readonly subjectAltNames: readonly string[];
  /** PEM; empty = the system's roots. */
  readonly roots: string;
  readonly pair: EdgeCertificate | undefined;
}

/**
 * Handshake as client with a server outside the mesh, over a stream that is there. Its certificate is verified, always.
 * Rejects with TLS_FAILED; the stream is then destroyed.
 */
export function originateTls(
  stream: Duplex,
  o: OutsideTls,
  alpn: readonly string[],
  how: { readonly clock: Clock; readonly handshakeMs?: number },
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const fail = (detail: string): void => {
      timer.cancel();
      stream.destroy();
      reject(new MeshError('TLS_FAILED', { detail: printable(detail, 300) }));
    };
    const timer = how.clock.after(how.handshakeMs ?? handshakeLimitMs, () =>
      fail('handshake timed out'),
    );
    let socket: tls.TLSSocket;
    try {
      socket = tls.connect({
        socket: stream,
        minVersion: 'TLSv1.2',
        // An address is no server name (RFC 6066).
        ...(isIP(o.sni) === 0 && { servername: o.sni }),
        ...(o.roots !== '' && { ca: o.roots }),
        ...(o.pair && { cert: o.pair.certificates, key: o.pair.privateKey }),
        ...(alpn.length > 0 && { ALPNProtocols: [...alpn] }),
        rejectUnauthorized: true,
        checkServerIdentity: (_host, cert) => {
          if (o.subjectAltNames.length === 0) return tls.checkServerIdentity(o.sni, cert);
          return o.subjectAltNames.some((n) => isNamed(cert, n))
            ? undefined
            : new Error('none of subjectAltNames is among the names of the certificate');
        },
      });
    } catch (error) {
      return fail(error instanceof Error ? error.message : 'no TLS');
    }
    socket.on('error', (error) => fail(error.message));
    const closed = (): void => fail('closed during handshake');
    socket.on('close', closed);
    socket.once('secureConnect', () => {
      timer.cancel();
      socket.off('close', closed);
      resolve(socket);
    });
  });
}
