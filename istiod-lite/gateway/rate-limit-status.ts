// What the status of a RateLimitPolicy says: where it holds, and which of its limits do not. Pure.
import type { World } from './binding.ts';
import { settle, type Wanted } from './conditions.ts';
import { located } from './located.ts';
import type { RateLimitFacts } from './rate-limits.ts';
import { attachment } from './status-plan.ts';

export function rateLimitStatus(world: World, p: RateLimitFacts, now: string): object | undefined {
  if (p.targetRefs.length === 0) return undefined;
  const { shared } = p;
  const missing =
    shared && !located(world, shared.service, shared.port)
      ? [`shared.service ${shared.service} with port ${shared.port} was not found`]
      : [];
  const wrong = [...p.faults.map((f) => `${f}: it does not hold`), ...missing];
  const own: Wanted = {
    type: 'ambientlite.dev/Accepted',
    status: wrong.length > 0 ? 'False' : 'True',
    reason: wrong.length > 0 ? 'UnsupportedValue' : 'Accepted',
    message: wrong.slice(0, 8).join('; ') || 'all limits hold',
  };
  const conditions = settle(p.conditions, [attachment(world, p), own], p.generation, now);
  return conditions && { conditions };
}
