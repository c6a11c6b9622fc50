// What the certificate manager needs of a CA. The gRPC one is handed in by the composition root; tests
// use a CertificateAuthority in the same process.
import type { SpiffeId } from '../core/model/index.ts';
import type { CertificateAuthority, SignedChain } from './ca.ts';

export interface CaClient {
  /**
   * One request, one answer. Rejects when the CA refuses or cannot be reached; the manager decides
   * about trying again. `signal` ends the wait.
   */
  sign(request: {
    /** PKCS#10 PEM. */
    readonly csr: string;
    readonly identity: SpiffeId;
    readonly ttlSeconds: number;
    readonly signal: AbortSignal;
  }): Promise<SignedChain>;
}

/** A CA in this very process. */
export function localCaClient(ca: CertificateAuthority): CaClient {
  return {
    sign: ({ csr, identity, ttlSeconds }) => ca.signWorkload({ csr, identity, ttlSeconds }),
  };
}
