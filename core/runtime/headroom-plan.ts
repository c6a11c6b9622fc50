// When a proxy is short of what every connection costs, as a pure function of what is used (checklist F26, F27).

export interface Use {
  readonly used: number;
  /** Infinity = none. */
  readonly limit: number;
}

export interface Usage {
  /** File descriptors of this process. */
  readonly descriptors: Use;
  /** Bytes that the process has of what its control group allows it. */
  readonly memory: Use;
  /** Bytes of the heap in use, of what the engine allows it. */
  readonly heap: Use;
}

export type Shortage = keyof Usage;

export const shortages: readonly Shortage[] = ['descriptors', 'memory', 'heap'];

/** Descriptors kept for what must go on: ports of operation, certificates, the control plane, open tunnels. */
const keptDescriptors = 256;
const full = 0.95;
/** Once short, until this much is free again: no flutter at the edge. */
const easy = 0.92;

/** What is short; `before` = what was. The first of `shortages` that is. */
export function shortageOf(usage: Usage, before: Shortage | undefined): Shortage | undefined {
  return shortages.find((what) => {
    const { used, limit } = usage[what];
    if (what !== 'descriptors') return used > limit * (what === before ? easy : full);
    const kept = Math.min(keptDescriptors, limit / 4);
    return limit - used < (what === before ? kept * 1.25 : kept);
  });
}
