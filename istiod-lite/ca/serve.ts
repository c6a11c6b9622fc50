// CreateCertificate: authenticate → decide → sign, with an audit line for every answer (control-plane.md 5).
import {
  CaError,
  type CertificateAuthority,
  maxRequestBytes,
  readCertificate,
  pemToDer,
} from '../../certs/index.ts';
import { type Log, printable } from '../../core/base/index.ts';
import {
  type Caller,
  type RequestOf,
  type ResponseOf,
  RpcError,
  rpcStatus,
} from '../../core/rpc/index.ts';
import type { ClusterState } from '../cluster/index.ts';
import { bearerOf } from '../xds/bearer.ts';
import type { TokenReviewer } from '../kube/token-review.ts';
import type { IstiodMetrics } from '../metrics.ts';
import { type CaRules, decideIdentity } from './policy.ts';

export interface CaDeps {
  readonly ca: () => CertificateAuthority;
  readonly cluster: ClusterState;
  readonly tokens: TokenReviewer;
  readonly rules: CaRules;
  readonly metrics: IstiodMetrics;
  readonly log: Log;
}

export type CreateCertificate = (
  request: RequestOf<'createCertificate'>,
  caller: Caller,
) => Promise<ResponseOf<'createCertificate'>>;

export function makeCreateCertificate(d: CaDeps): CreateCertificate {
  const refuse = (reason: string, error: RpcError, fields: Record<string, unknown>): RpcError => {
    d.metrics.denied.add({ service: 'ca', reason });
    d.log.warn('certificate refused', { reason, ...fields });
    return error;
  };
  return async (request, caller) => {
    d.metrics.csrs.add({});
    const who = await d.tokens.review(bearerOf(caller) ?? '');
    if (!who) {
      const error = new RpcError(rpcStatus.unauthenticated, 'request authenticate failure');
      throw refuse('unauthenticated', error, { peer: caller.peer });
    }
    const account = `${who.namespace}/${who.serviceAccount}`;
    const wish = request.metadata?.fields['ImpersonatedIdentity']?.stringValue ?? undefined;
    const decision = decideIdentity(d.cluster, who, wish, d.rules);
    if (!decision.allow) {
      const text = 'request impersonation authentication failure';
      const fields = { caller: account, requested: printable(wish ?? ''), why: decision.why };
      throw refuse('impersonation', new RpcError(rpcStatus.unauthenticated, text), fields);
    }
    const { identity } = decision;
    if (request.csr.length > maxRequestBytes) {
      const error = new RpcError(
        rpcStatus.invalidArgument,
        'CSR signing error (request too large)',
      );
      throw refuse('csr', error, { caller: account });
    }
    try {
      const ttlSeconds = request.validityDuration;
      const signed = await d.ca().signWorkload({ csr: request.csr, identity, ttlSeconds });
      const leaf = readCertificate(pemToDer(signed.chain[0] ?? ''));
      d.metrics.issued.add({});
      d.log.info('certificate issued', {
        identity,
        caller: account,
        pod: who.podName,
        impersonated: decision.impersonated,
        serial: leaf?.serial,
        notAfter: leaf && new Date(leaf.notAfterMs).toISOString(),
      });
      return { certChain: [...signed.chain, signed.roots] };
    } catch (error) {
      const bad = error instanceof CaError && error.code === 'InvalidArgument';
      const code = bad ? rpcStatus.invalidArgument : rpcStatus.internal;
      const text = error instanceof CaError ? error.message : 'internal error';
      throw refuse('csr', new RpcError(code, `CSR signing error (${text})`), {
        caller: account,
        error,
      });
    }
  };
}
