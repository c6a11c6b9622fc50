// Requests that many proxies count together, in fixed windows of time (waypoint-l7.md 10.3). Pure.
import type { RequestOf, ResponseOf } from '../core/rpc/index.ts';
import type { Draft } from '../core/rpc/index.ts';

export interface Count {
  readonly key: string;
  readonly hits: number;
  /** After which nobody asks for it any more. */
  readonly keepMs: number;
}

type Request = RequestOf<'shouldRateLimit'>;
type Response = Draft<ResponseOf<'shouldRateLimit'>>;

const unitMs: Readonly<Record<number, number>> = {
  1: 1_000,
  2: 60_000,
  3: 3_600_000,
  4: 86_400_000,
};
const ok = 1;
const over = 2;
const maxDescriptors = 100;
const maxKey = 2_000;

/** Lengths before values: no two sets of values have one key. */
function keyOf(domain: string, d: Request['descriptors'][number], window: number): string {
  const parts = [domain, ...d.entries.flatMap((e) => [e.key, e.value])];
  const text = parts.map((p) => `${p.length}:${p}`).join('');
  return `rl|${d.limit?.unit ?? 0}|${window}|${text.slice(0, maxKey)}`;
}

/** One count for each descriptor with a limit; `undefined` = the others, which have none. */
export function countsFor(r: Request, nowMs: number): (Count | undefined)[] {
  return r.descriptors.slice(0, maxDescriptors).map((d) => {
    const ms = unitMs[d.limit?.unit ?? 0];
    if (ms === undefined) return undefined;
    const key = keyOf(r.domain, d, Math.floor(nowMs / ms));
    return { key, hits: r.hitsAddend || 1, keepMs: 2 * ms };
  });
}

/** `counted` are the values after this request, in the order of the counts that there are. */
export function answerFor(r: Request, counted: readonly number[], nowMs: number): Response {
  const values = [...counted];
  const statuses = r.descriptors.slice(0, maxDescriptors).map((d) => {
    const ms = unitMs[d.limit?.unit ?? 0];
    if (ms === undefined || !d.limit) return { code: ok };
    const quota = d.limit.requestsPerUnit;
    const value = values.shift() ?? 0;
    const left = ms - (nowMs % ms);
    return {
      code: value > quota ? over : ok,
      currentLimit: { requestsPerUnit: quota, unit: d.limit.unit },
      limitRemaining: Math.max(0, quota - value),
      durationUntilReset: { seconds: Math.floor(left / 1000), nanos: (left % 1000) * 1e6 },
    };
  });
  return { overallCode: statuses.some((s) => s.code === over) ? over : ok, statuses };
}
