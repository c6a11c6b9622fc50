// The TLS of callers from outside the mesh: they prove nothing, the gateway shows the certificate that fits the name
// they ask for. Nobody gets a `Secured` here.
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
  /** In lower case; empty = none was sent. */
  readonly serverName: string;
  readonly alpn: string;
}

const handshakeLimitMs = 10_000;

/** The hybrid first; alone where nothing else may be. */
const hybrid = 'X25519MLKEM768';
const groups = `${hybrid}:X25519:P-256:P-384`;

const contexts = {
  any: new WeakMap<EdgeCertificate, tls.SecureContext>(),
  hybrid: new WeakMap<EdgeCertificate, tls.SecureContext>(),
};
/** Shows no certificate: every handshake fails. */
let nothing: tls.SecureContext | undefined;

function contextOf(c: EdgeCertificate | undefined, hybridOnly: boolean): tls.SecureContext {
  if (!c) return (nothing ??= tls.createSecureContext({}));
  const known = hybridOnly ? contexts.hybrid : contexts.any;
  let context = known.get(c);
  if (!context) {
    context = tls.createSecureContext({
      minVersion: hybridOnly ? 'TLSv1.3' : 'TLSv1.2',
      cert: c.certificates,
      key: c.privateKey,
      ecdhCurve: hybridOnly ? hybrid : groups,
      honorCipherOrder: true,
    });
    known.set(c, context);
  }
  return context;
}

/**
 * Handshake as server; `find` gives the certificate for a server name, empty where none was sent, `undefined` = there
 * is none. With `hybridOnly` keys are exchanged by X25519MLKEM768 or not at all. Rejects with TLS_HANDSHAKE or
 * HANDSHAKE_TIMEOUT; the stream is then destroyed.
 */
export function acceptEdge(
  stream: Duplex,
  find: (serverName: string) => EdgeCertificate | undefined,
  o: { readonly clock: Clock; readonly handshakeMs?: number; readonly hybridOnly?: boolean },
): Promise<EdgeStream> {
  const { hybridOnly = false } = o;
  return new Promise((resolve, reject) => {
    let asked = '';
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
        secureContext: contextOf(find(''), hybridOnly),
        ALPNProtocols: ['h2', 'http/1.1'],
        SNICallback(name, done) {
          asked = name.toLowerCase();
          try {
            done(null, contextOf(find(asked), hybridOnly));
          } catch (error) {
            done(error instanceof Error ? error : new Error('bad certificate'));
          }
        },
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
      timer.cancel();
      socket.removeAllListeners('close');
      resolve({ stream: socket, serverName: asked, alpn: socket.alpnProtocol || '' });
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
