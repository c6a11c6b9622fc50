// The accepting side of TLS, one per identity rather than per pod, made when its certificate is there and
// kept up to date with every renewal (sandbox.md T10).
import type { Duplex } from 'node:stream';
import type { CertManager } from './cert-manager.ts';
import { type Secured, TlsAcceptor, type TlsOptions } from './tls.ts';
import { type Clock, MeshError } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';

/** How long an accepted connection is held for its certificate. */
const certMs = 5_000;

export class Acceptors {
  readonly #certs: CertManager;
  readonly #clock: Clock;
  readonly #tls: TlsOptions;
  readonly #byId = new Map<SpiffeId, TlsAcceptor>();

  constructor(certs: CertManager, clock: Clock, tls: TlsOptions) {
    this.#certs = certs;
    this.#clock = clock;
    this.#tls = tls;
    certs.onCert((cert) => this.#byId.get(cert.id)?.update(cert));
  }

  /** Rejects as TlsAcceptor.accept does, or with CERT_UNAVAILABLE; the stream stays unread until then. */
  async accept(id: SpiffeId, stream: Duplex): Promise<Secured> {
    const cert = this.#certs.current(id) ?? (await this.#wait(id));
    let acceptor = this.#byId.get(id);
    if (!acceptor) {
      acceptor = new TlsAcceptor(cert, { ...this.#tls, renew: () => this.#certs.renew(id) });
      this.#byId.set(id, acceptor);
    }
    return acceptor.accept(stream);
  }

  forget(id: SpiffeId): void {
    this.#byId.delete(id);
  }

  #wait(id: SpiffeId): ReturnType<CertManager['get']> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(certMs, () =>
        reject(new MeshError('CERT_UNAVAILABLE', { detail: 'no certificate within 5 s' })),
      );
      this.#certs
        .get(id)
        .then(resolve, reject)
        .finally(() => timer.cancel());
    });
  }
}
