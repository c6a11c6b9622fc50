// Who may write for all replicas: the holder of a Lease. Pure: what was seen of the Lease and when, and what to
// do about it. Only our own monotonic clock counts, so that clocks that differ take nothing from anybody.

/** The Lease as it was read. `version` is what a write must name. */
export interface LeaseSeen {
  readonly holder: string;
  readonly renewed: string;
  readonly version: string;
}

export interface LeaseState {
  /** Last state of the Lease and since when it has been so. */
  readonly seen: LeaseSeen | undefined;
  readonly sinceMs: number;
  /** Until when we lead without another successful write. */
  readonly leadUntilMs: number;
}

export interface LeasePlan {
  /** A holder that has not renewed for so long is gone. */
  readonly durationMs: number;
  /** A holder that could not renew for so long stops leading; shorter than the duration. */
  readonly renewDeadlineMs: number;
}

export const noLease: LeaseState = { seen: undefined, sinceMs: 0, leadUntilMs: 0 };

/** Takes note of what was read. */
export function observeLease(
  state: LeaseState,
  seen: LeaseSeen | undefined,
  nowMs: number,
): LeaseState {
  const same = seen?.holder === state.seen?.holder && seen?.renewed === state.seen?.renewed;
  return { ...state, seen, sinceMs: same ? state.sinceMs : nowMs };
}

export type LeaseStep = 'create' | 'write' | 'wait';

export function nextLeaseStep(
  state: LeaseState,
  me: string,
  plan: LeasePlan,
  nowMs: number,
): LeaseStep {
  if (!state.seen) return 'create';
  const { holder } = state.seen;
  if (holder === '' || holder === me) return 'write';
  return nowMs - state.sinceMs >= plan.durationMs ? 'write' : 'wait';
}

/** A write of ours succeeded. */
export function leaseWritten(state: LeaseState, plan: LeasePlan, nowMs: number): LeaseState {
  return { ...state, leadUntilMs: nowMs + plan.renewDeadlineMs };
}

/** Somebody else has it. */
export function leaseLost(state: LeaseState): LeaseState {
  return { ...state, leadUntilMs: 0 };
}

export const leads = (state: LeaseState, nowMs: number): boolean => nowMs < state.leadUntilMs;
