// Exponential back-off with jitter, as a pure function of the attempt.
import type { Random } from './random.ts';

export interface BackoffPlan {
  readonly firstMs: number;
  readonly capMs: number;
  /** Fraction of the delay that is random, ± (0.2 = ±20 %). */
  readonly jitter: number;
}

/** Delay before attempt `attempt` (0 = the first retry): first × 2^attempt, capped, then jittered. */
export function backoffDelay(plan: BackoffPlan, attempt: number, random: Random): number {
  const base = Math.min(plan.capMs, plan.firstMs * 2 ** Math.min(attempt, 40));
  return base * (1 + plan.jitter * (2 * random.next() - 1));
}
