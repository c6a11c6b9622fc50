// Again or not (waypoint-l7.md 5.6): by what happened, how often already, and whether all of the request can
// be sent once more. Pure; the wait is drawn by the caller's Random.
import type { Random } from '../../core/base/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { FailureKind } from '../upstream/attempt.ts';
import type { HeaderList } from './exchange.ts';
import { headerOf } from './exchange.ts';

export interface RetryRules {
  /** Retries after the first try. */
  readonly attempts: number;
  readonly codes: ReadonlySet<number>;
  readonly backoffMs: number;
  /** Further tries where no connection came about, so nothing was sent: endpoints may be changing just now. */
  readonly patience: number;
  /** Tries that ran out of time are tried again; only where a route asks for retries. */
  readonly perTry: boolean;
  /** Istio's retryOn; absent = what Gateway API asks for. */
  readonly on: ReadonlySet<string> | undefined;
  /** Endpoints that failed are not avoided. */
  readonly sameHost: boolean;
}

const defaults: RetryRules = {
  attempts: 2,
  codes: new Set(),
  backoffMs: 25,
  patience: 2,
  perTry: false,
  on: undefined,
  sameHost: false,
};
const patienceMs = 200;

export function retryRules(r: wire.L7RetryPolicy | undefined): RetryRules {
  if (!r) return defaults;
  return {
    attempts: r.attempts,
    codes: new Set(r.codes),
    backoffMs: r.backoffMs || defaults.backoffMs,
    patience: 0,
    perTry: true,
    on: r.on.length > 0 ? new Set(r.on) : undefined,
    sameHost: r.sameHost,
  };
}

export type Happened =
  | { readonly kind: 'failed'; readonly failure: FailureKind | 'per-try-timeout' }
  | { readonly kind: 'answered'; readonly status: number; readonly headers: HeaderList };

/** Nothing was sent: one other endpoint is tried whatever the policy (design.md 6.6). */
const failover = 'connect-failover';

const grpcNames: Readonly<Record<string, string>> = {
  '1': 'cancelled',
  '4': 'deadline-exceeded',
  '8': 'resource-exhausted',
  '13': 'internal',
  '14': 'unavailable',
};
/** Without a policy of its own. */
const grpcCodes = new Set(['1', '14']);

const named = (on: ReadonlySet<string>, ...names: string[]): string | undefined =>
  names.find((n) => on.has(n));

/** By Istio's names (waypoint-l7.md 5.6). */
function namedReason(on: ReadonlySet<string>, rules: RetryRules, h: Happened): string | undefined {
  if (h.kind === 'failed') {
    switch (h.failure) {
      case 'connect':
      case 'timeout':
        return (
          named(on, 'connect-failure', '5xx', 'gateway-error', 'reset', 'reset-before-request') ??
          failover
        );
      case 'refused-stream':
        return named(on, 'refused-stream', '5xx', 'gateway-error', 'reset');
      case 'stale':
        return 'stale-connection';
      case 'termination':
      case 'reset':
      case 'per-try-timeout':
        return named(on, '5xx', 'gateway-error', 'reset');
      default:
        return undefined;
    }
  }
  const { status, headers } = h;
  if (headerOf(headers, 'x-envoy-overloaded') !== undefined) return undefined;
  if (headerOf(headers, 'x-envoy-ratelimited') !== undefined) return named(on, 'envoy-ratelimited');
  const grpc = grpcNames[headerOf(headers, 'grpc-status') ?? ''];
  if (grpc !== undefined && on.has(grpc)) return grpc;
  if (status >= 500 && on.has('5xx')) return '5xx';
  if (status >= 502 && status <= 504 && on.has('gateway-error')) return 'gateway-error';
  if (status === 409 && on.has('retriable-4xx')) return 'retriable-4xx';
  return rules.codes.has(status) ? 'retriable-status-codes' : undefined;
}

/** Why another try would be right, or `undefined`. */
export function retryReason(rules: RetryRules, h: Happened): string | undefined {
  if (rules.on) return namedReason(rules.on, rules, h);
  if (h.kind === 'failed') {
    switch (h.failure) {
      case 'connect':
      case 'timeout':
        return 'connect-failure';
      case 'refused-stream':
        return 'refused-stream';
      case 'stale':
        return 'stale-connection';
      case 'termination':
      case 'reset':
        return rules.perTry ? 'reset' : undefined;
      case 'per-try-timeout':
        return rules.perTry ? 'per-try-timeout' : undefined;
      default:
        return undefined;
    }
  }
  if (headerOf(h.headers, 'x-envoy-overloaded') !== undefined) return undefined;
  if (headerOf(h.headers, 'x-envoy-ratelimited') !== undefined) return undefined;
  const grpc = headerOf(h.headers, 'grpc-status');
  if (grpc !== undefined && grpcCodes.has(grpc)) return 'grpc-status';
  return rules.codes.has(h.status) ? 'retriable-status-codes' : undefined;
}

/** How many tries there may be before the next one, given why it is wanted. */
export function triesAllowed(rules: RetryRules, h: Happened | undefined, again: string): number {
  if (again === failover) return 1;
  const unsent = h?.kind === 'failed' && (h.failure === 'connect' || h.failure === 'timeout');
  const waiting = h?.kind === 'failed' && h.failure === 'connect' ? rules.patience : 0;
  return Math.max(rules.attempts + waiting, unsent ? 1 : 0);
}

/** Full jitter in [0, (2^n − 1) · base), at most ten times the base; n counts from 1. */
export function retryDelay(rules: RetryRules, n: number, random: Random): number {
  if (n > rules.attempts) return rules.patience > 0 ? patienceMs : 0;
  const span = Math.min((2 ** n - 1) * rules.backoffMs, 10 * rules.backoffMs);
  return random.next() * span;
}
