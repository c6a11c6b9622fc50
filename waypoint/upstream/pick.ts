// Backend and endpoint of one attempt: weights between backends, then readiness, locality and load among a
// service's endpoints; those ejected or just tried are left out while there are others.
import { weightedPick } from '../../core/base/index.ts';
import {
  type NamespacedHost,
  pickAddress,
  pickEndpoint,
  type WorkloadUid,
} from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Backend } from '../l7/backend.ts';
import type { Endpoint } from './tunnels.ts';

export function pickBackend(ctx: WaypointContext, all: readonly Backend[]): Backend | undefined {
  return weightedPick(
    all.filter((b) => b.weight > 0),
    (b) => b.weight,
    ctx.random,
  );
}

/** `undefined` = none is fit. */
export function pickTarget(
  ctx: WaypointContext,
  service: NamespacedHost,
  port: number,
  tried: ReadonlySet<WorkloadUid>,
): Endpoint | undefined {
  const found = ctx.view.service(service);
  if (!found) return undefined;
  const ejected = ctx.health.ejected(service, ctx.clock.monotonic());
  const self = ctx.self();
  const choose = (except: ReadonlySet<string>) =>
    pickEndpoint(ctx.view, found, port, self, ctx.random, { except });
  const except = new Set([...ejected, ...tried]);
  let picked = choose(except);
  if (picked) {
    // The less busy of two.
    const other = choose(except);
    const load = (uid: WorkloadUid): number => ctx.health.active(service, uid);
    if (other && load(other.workload.uid) < load(picked.workload.uid)) picked = other;
  } else if (tried.size > 0) picked = choose(ejected);
  const wanted = self.addresses[0] ?? picked?.workload.addresses[0];
  if (!picked || wanted === undefined) return undefined;
  const address = pickAddress(picked.workload, found, wanted);
  return address && { workload: picked.workload, address, port: picked.targetPort };
}
