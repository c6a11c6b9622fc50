// What the status of a RequestAuthentication says: where it holds, and whether its keys are there. Pure.
import { type KeyAnswer } from '../keys/key-sets.ts';
import { keysFor, type RequestAuthenticationFacts } from './authentication.ts';
import type { World } from './binding.ts';
import { settle, type Wanted } from './conditions.ts';
import { attachment } from './status-plan.ts';

const keysType = 'ambientlite.dev/Accepted';

/** The first few of what is wrong, with the issuers concerned. */
function keys(world: World, p: RequestAuthenticationFacts): Wanted {
  const wrong = p.rules
    .map((r) => ({ issuer: r.issuer, faults: r.faults.length > 0, answer: keysFor(world, r) }))
    .filter((x) => x.answer.fault !== undefined);
  const say = ({ issuer, answer }: { issuer: string; answer: KeyAnswer }): string => {
    const effect = answer.keys === undefined ? 'its tokens are refused' : 'older keys are used';
    return `issuer "${issuer}": ${answer.fault ?? ''}: ${effect}`;
  };
  const bad = wrong.some((x) => x.answer.keys === undefined);
  return {
    type: keysType,
    status: bad ? 'False' : 'True',
    reason: wrong.some((x) => x.faults)
      ? 'UnsupportedValue'
      : wrong.length > 0
        ? 'KeysNotFetched'
        : 'Accepted',
    message: wrong.length > 0 ? wrong.slice(0, 8).map(say).join('; ') : 'all keys are there',
  };
}

export function authenticationStatus(
  world: World,
  p: RequestAuthenticationFacts,
  now: string,
): object | undefined {
  const wanted: Wanted[] =
    p.targetRefs.length === 0
      ? [
          {
            type: keysType,
            status: 'False',
            reason: 'UnsupportedValue',
            message:
              'without targetRefs it is for proxies beside a workload: nobody here checks its tokens',
          },
        ]
      : [attachment(world, p), keys(world, p)];
  const conditions = settle(p.conditions, wanted, p.generation, now);
  return conditions && { conditions };
}
