// When to fire after a burst: once `quietMs` have passed without an event, but never later than
// `maxMs` after the first (control-plane.md 4.5). A step function; the owner holds the timer.

export interface DebouncePlan {
  readonly quietMs: number;
  readonly maxMs: number;
}

export interface DebounceState {
  readonly firstMs: number;
  readonly lastMs: number;
}

export function debounceEvent(state: DebounceState | undefined, nowMs: number): DebounceState {
  return { firstMs: state?.firstMs ?? nowMs, lastMs: nowMs };
}

/** Milliseconds to wait from `nowMs`; 0 = fire now. */
export function debounceWait(plan: DebouncePlan, state: DebounceState, nowMs: number): number {
  const due = Math.min(state.lastMs + plan.quietMs, state.firstMs + plan.maxMs);
  return Math.max(0, due - nowMs);
}
