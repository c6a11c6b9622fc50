// The CA over gRPC: IstioCertificateService (ztunnel-protocol.md 8.1, 8.2). A channel per request, so that
// rotated roots and tokens are read each time; requests are rare.
import { RpcError, type RpcChannel } from '../core/rpc/index.ts';
import type { SignedChain } from './ca.ts';
import type { CaClient } from './ca-client.ts';
import { CaError } from './ca-error.ts';

const limitMs = 10_000;

/** The last string is the whole root bundle; fewer than two strings is no answer (F9). */
function readAnswer(certChain: readonly string[]): SignedChain {
  const roots = certChain.at(-1);
  const chain = certChain.slice(0, -1);
  if (roots === undefined || chain.length === 0) {
    throw new CaError('Internal', 'the CA answered without a certificate or without roots');
  }
  return { chain, roots };
}

export function grpcCaClient(options: {
  readonly open: () => RpcChannel;
  /** True for a node proxy, which asks for the identities of others. */
  readonly impersonate: boolean;
}): CaClient {
  return {
    async sign({ csr, identity, ttlSeconds, signal }) {
      signal.throwIfAborted();
      const channel = options.open();
      const metadata = { fields: { ImpersonatedIdentity: { stringValue: identity } } };
      try {
        const answer = await channel.unary(
          'createCertificate',
          { csr, validityDuration: ttlSeconds, ...(options.impersonate && { metadata }) },
          limitMs,
        );
        return readAnswer(answer.certChain);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        throw new CaError(
          'Internal',
          `the CA refused or could not be reached: ${error.message}`,
          error,
        );
      } finally {
        channel.close();
      }
    },
  };
}
