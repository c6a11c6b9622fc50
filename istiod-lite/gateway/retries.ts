// Istio's HTTPRetry, of a rule of a VirtualService or of the whole mesh → when a request is tried again (waypoint-l7.md 5.6).
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, text } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { ms, whole } from './hosts.ts';

export function retriesOf(r: unknown): Draft<wire.L7RetryPolicy> | undefined {
  if (r === undefined) return undefined;
  const given = field(r, 'attempts');
  const names = text(field(r, 'retryOn'))
    .split(',')
    .map((s) => s.trim())
    .filter((s) => s !== '');
  const codes = names.filter((n) => /^\d{3}$/.test(n)).map(Number);
  const on = names.filter((n) => !/^\d+$/.test(n));
  const standard = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled'];
  return {
    attempts: typeof given === 'number' ? Math.min(whole(given), 10) : 2,
    codes,
    backoffMs: ms(field(r, 'backoff')),
    on: on.length > 0 || codes.length > 0 ? [...on, 'retriable-status-codes'] : standard,
    sameHost: field(r, 'retryIgnorePreviousHosts') === false,
  };
}

/** Of all requests whose rule says nothing of retries, meshConfig.defaultHttpRetryPolicy. */
export function meshRetries(world: World): Pick<Draft<wire.L7ServiceConfig>, 'defaultRetry'> {
  const made = retriesOf(world.gateways.meshConfig.retries);
  return made ? { defaultRetry: made } : {};
}
