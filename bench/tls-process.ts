// What HBONE is measured against: our own path without HTTP/2, one mutual TLS connection for each of the
// application's. `near` takes plain connections and dials `far`; `far` ends TLS and dials the application.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { pump } from '../core/hbone/index.ts';

export interface TlsSetup {
  readonly side: 'near' | 'far';
  readonly host: string;
  readonly port: number;
  readonly to: { readonly host: string; readonly port: number };
  readonly cert: string;
  readonly key: string;
  readonly roots: string;
}

function serve(setup: TlsSetup): Promise<void> {
  const { side, host, port, to, cert, key, roots } = setup;
  // The workload's names are SPIFFE ids: the chain is what both ends check here.
  const tls = { cert, key, ca: roots, minVersion: 'TLSv1.3' } as const;
  const join = (near: Socket): void => {
    near.setNoDelay(true);
    near.on('error', () => {});
    const far =
      side === 'near'
        ? tlsConnect({ ...to, ...tls, checkServerIdentity: () => undefined })
        : connect({ ...to, noDelay: true, allowHalfOpen: true });
    far.on('error', () => near.destroy());
    far.once(side === 'near' ? 'secureConnect' : 'connect', () => {
      far.setNoDelay(true);
      pump(near, far);
    });
  };
  const server =
    side === 'near'
      ? createServer({ allowHalfOpen: true, noDelay: true }, join)
      : createTlsServer(
          { ...tls, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true },
          join,
        );
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      const bound = server.address() as AddressInfo;
      if (bound.port === port) resolve();
    });
  });
}

process.on('message', (message: TlsSetup | 'usage') => {
  if (message === 'usage') {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMicros: user + system, rssBytes: process.memoryUsage().rss });
    return;
  }
  serve(message).then(
    () => process.send?.('ready'),
    (error: unknown) => {
      process.stderr.write(`bench tls: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.once('disconnect', () => process.exit(0));
