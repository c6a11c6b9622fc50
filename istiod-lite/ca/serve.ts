// CreateCertificate: authenticate → limit → decide → sign, with an audit line for every answer
// (control-plane.md 5).
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
import type { CallerIdentity, TokenReviewer } from '../kube/token-review.ts';
import type { IstiodMetrics } from '../metrics.ts';
import type { RateLimit } from './rate-limit.ts';
import { type CaRules, decideIdentity } from './policy.ts';

export interface CaDeps {
  readonly ca: () => CertificateAuthority;
  readonly cluster: ClusterState;
  readonly tokens: TokenReviewer;
  readonly rules: CaRules;
  readonly limit: RateLimit;
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

  const authenticate = async (caller: Caller): Promise<CallerIdentity> => {
    const fields = { peer: caller.peer };
    const who = await d.tokens.review(bearerOf(caller) ?? '').catch((error: unknown) => {
      const text = 'cannot authenticate now';
      throw refuse('review-failed', new RpcError(rpcStatus.unavailable, text), {
        ...fields,
        error,
      });
    });
    if (who) return who;
    const error = new RpcError(rpcStatus.unauthenticated, 'request authenticate failure');
    throw refuse('unauthenticated', error, fields);
  };

  return async (request, caller) => {
    d.metrics.csrs.add({});
    const who = await authenticate(caller);
    const account = `${who.namespace}/${who.serviceAccount}`;
    const wish = request.metadata?.fields['ImpersonatedIdentity']?.stringValue ?? undefined;
    const about = {
      caller: account,
      pod: who.podName,
      peer: caller.peer,
      ...(wish !== undefined && { requested: printable(wish) }),
    };
    if (!d.limit.take(`${account}/${who.podName}`)) {
      const text = 'too many certificate requests; try again later';
      throw refuse('rate', new RpcError(rpcStatus.resourceExhausted, text), about);
    }
    const decision = decideIdentity(d.cluster, who, wish, d.rules);
    if (!decision.allow) {
      const text = 'request impersonation authentication failure';
      const error = new RpcError(rpcStatus.unauthenticated, text);
      throw refuse('impersonation', error, { ...about, why: decision.why });
    }
    const { identity, impersonated } = decision;
    try {
      if (request.csr.length > maxRequestBytes)
        throw new CaError('InvalidArgument', 'request too large');
      const ttlSeconds = request.validityDuration;
      const signed = await d.ca().signWorkload({ csr: request.csr, identity, ttlSeconds });
      const leaf = readCertificate(pemToDer(signed.chain[0] ?? ''));
      d.metrics.issued.add({});
      d.log.info('certificate issued', {
        identity,
        impersonated,
        ...about,
        serial: leaf?.serial,
        notAfter: leaf && new Date(leaf.notAfterMs).toISOString(),
      });
      return { certChain: [...signed.chain, signed.roots] };
    } catch (error) {
      const bad = error instanceof CaError && error.code === 'InvalidArgument';
      const code = bad ? rpcStatus.invalidArgument : rpcStatus.internal;
      const text = error instanceof CaError ? error.message : 'internal error';
      const told = new RpcError(code, `CSR signing error (${text})`);
      throw refuse('csr', told, { ...about, identity, error });
    }
  };
}
