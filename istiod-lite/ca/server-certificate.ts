// The control plane's own TLS certificate, signed by its own CA: renewed at half of its life, and at once when
// the CA changes, so that who trusts the new roots alone can still reach us.
import type { CertificateAuthority, ServerCertificate } from '../../certs/index.ts';
import type { Clock, Log, Timer } from '../../core/base/index.ts';
import type { RpcServer } from '../../core/rpc/index.ts';

const ttlSeconds = 24 * 3600 * 30;
const retryMs = 60_000;

export interface ServerNames {
  /** Namespace of the control plane. */
  readonly namespace: string;
  readonly revision: string;
}

export function signServerCertificate(
  ca: CertificateAuthority,
  { namespace, revision }: ServerNames,
): Promise<ServerCertificate> {
  const dns = ['istiod', 'istiod-remote', 'istio-pilot'].map((n) => `${n}.${namespace}.svc`);
  if (revision !== 'default') dns.push(`istiod-${revision}.${namespace}.svc`);
  return ca.signServer({ dns: [...dns, 'localhost'], ips: ['127.0.0.1'], ttlSeconds });
}

export class ServerCertificateRenewal {
  readonly #ca: () => CertificateAuthority;
  readonly #names: ServerNames;
  readonly #server: RpcServer;
  readonly #clock: Clock;
  readonly #log: Log;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(
    ca: () => CertificateAuthority,
    names: ServerNames,
    server: RpcServer,
    clock: Clock,
    log: Log,
  ) {
    this.#ca = ca;
    this.#names = names;
    this.#server = server;
    this.#clock = clock;
    this.#log = log;
    this.#arm((ttlSeconds * 1000) / 2);
  }

  /** Signs anew now; running connections are left alone. */
  async now(): Promise<void> {
    const ca = this.#ca();
    try {
      const own = await signServerCertificate(ca, this.#names);
      if (this.#stopped || ca !== this.#ca()) return;
      this.#server.replaceMaterial({ certChainPem: own.chainPem, keyPem: own.keyPem });
      this.#arm(Math.max(retryMs, (own.notAfterMs - this.#clock.now()) / 2));
    } catch (error) {
      this.#log.error('cannot renew the server certificate', { error });
      this.#arm(retryMs);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    this.#timer?.cancel();
    if (!this.#stopped) this.#timer = this.#clock.after(ms, () => void this.now());
  }
}
