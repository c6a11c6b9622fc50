// Faults put in on purpose (waypoint-l7.md 5.5): a delay first, then an answer instead of a call.
import type { Cancellation } from '../../core/base/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Exchange, LocalReply } from './exchange.ts';
import { httpOfGrpc, reply } from './local-reply.ts';

const million = 1_000_000;

function pause(ctx: WaypointContext, ms: number, gone: Cancellation): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      stay();
      resolve();
    };
    const timer = ctx.clock.after(ms, done);
    const stay = gone.onAbort(done);
  });
}

/** Shares are drawn apart from each other; the caller that leaves is not waited for. */
export function inject(
  ctx: WaypointContext,
  x: Exchange,
): undefined | Promise<LocalReply | undefined> {
  const fault = x.rule?.fault;
  return fault && injected(ctx, x, fault);
}

async function injected(
  ctx: WaypointContext,
  x: Exchange,
  fault: wire.L7Fault,
): Promise<LocalReply | undefined> {
  const hit = (share: number): boolean => share > 0 && ctx.random.next() * million < share;
  if (fault.delayMs > 0 && hit(fault.delayShare)) {
    x.outcome.flags = 'DI';
    await pause(ctx, fault.delayMs, x.down.gone);
  }
  if (!hit(fault.abortShare)) return undefined;
  const status = fault.abortGrpc ? httpOfGrpc(fault.abortGrpcStatus) : fault.abortStatus;
  return reply(status, 'fault filter abort', 'FI', 'fault_filter_abort', {
    ...(fault.abortGrpc && { grpcStatus: fault.abortGrpcStatus }),
  });
}
