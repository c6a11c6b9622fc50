// Counts a probe's outcomes against its thresholds. Pure.
import type { Probe } from '../objects.ts';

export interface ProbeState {
  readonly successes: number;
  readonly failures: number;
  /** What the probe says now; `undefined` until a threshold was reached for the first time. */
  readonly healthy: boolean | undefined;
}

export const freshProbe: ProbeState = { successes: 0, failures: 0, healthy: undefined };

export function probeOutcome(state: ProbeState, ok: boolean, probe: Probe): ProbeState {
  const successes = ok ? state.successes + 1 : 0;
  const failures = ok ? 0 : state.failures + 1;
  let healthy = state.healthy;
  if (successes >= (probe.successThreshold ?? 1)) healthy = true;
  if (failures >= (probe.failureThreshold ?? 3)) healthy = false;
  return { successes, failures, healthy };
}

/** Milliseconds: before the first look, between looks, for one look. */
export const probeTimes = (
  probe: Probe,
): { delayMs: number; periodMs: number; limitMs: number } => ({
  delayMs: (probe.initialDelaySeconds ?? 0) * 1_000,
  periodMs: Math.max(1, probe.periodSeconds ?? 10) * 1_000,
  limitMs: Math.max(1, probe.timeoutSeconds ?? 1) * 1_000,
});

/** While a container has not been found healthy yet, it is asked more often than its period. */
export const impatientMs = 250;
