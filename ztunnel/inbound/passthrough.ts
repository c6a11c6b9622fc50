// The plaintext side of a pod (15006): the same admission without an identity, then the application
// (ztunnel-protocol.md 4.3). STRICT arrives as ordinary DENY policies.
import type { Socket } from 'node:net';
import {
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  traceIdOf,
} from '../../core/base/index.ts';
import type { Workload } from '../../core/model/index.ts';
import type { Captured } from '../capture/captured.ts';
import type { ZtunnelContext } from '../context.ts';
import { isOwnPort } from '../ports.ts';
import { refuseApp } from '../refusal.ts';
import type { ReportFacts } from '../report.ts';
import { carryInbound, dialApp, type InboundPod } from './admit.ts';
import { sourceWorkload } from './labels.ts';
import { addressedService } from './plan.ts';

/** `localIp`: the address of the listener that accepted. Never rejects. */
export async function carryPlaintext(
  ctx: ZtunnelContext,
  pod: InboundPod,
  workload: Workload,
  socket: Socket,
  captured: Captured,
  localIp: IpPort['ip'],
): Promise<void> {
  const facts = factsOf(ctx, pod, workload, captured);
  const early = checkTarget(captured.target, localIp);
  if (early) {
    ctx.reports.early(facts, early);
    refuseApp(ctx.clock, socket);
    return;
  }
  const report = ctx.reports.open(facts);
  const who = { source: captured.source, principal: undefined, identity: undefined };
  const verdict = ctx.connections.admit(workload.uid, who, captured.target);
  if (!verdict.ok) {
    refuseApp(ctx.clock, socket);
    report.end({ error: verdict.error, refusedBy: 'self' });
    return;
  }
  const { guard } = verdict;
  const left = new AbortController();
  socket.once('close', () => left.abort(new MeshError('PEER_RESET')));
  try {
    const signal = AbortSignal.any([guard.signal, left.signal]);
    const app = await dialApp(ctx, pod, captured.target, captured.source, signal);
    const { source, target } = captured;
    const live = {
      direction: 'inbound',
      source,
      target,
      dialled: target,
      protocol: 'TCP',
    } as const;
    await carryInbound({ pod, near: socket, app, guard, report, live });
  } catch (caught) {
    refuseApp(ctx.clock, socket);
    report.end({ error: fromUnknown(caught, 'INTERNAL'), refusedBy: 'self' });
  } finally {
    guard.release();
  }
}

/** Only this pod's own address, and none of the proxy's ports (design.md 8 "Loopback rule", C4). */
function checkTarget(target: IpPort, localIp: IpPort['ip']): MeshError | undefined {
  if (target.ip !== localIp) {
    return new MeshError('ADDRESS_MISMATCH', { detail: `ip mismatch: ${target.ip} != ${localIp}` });
  }
  if (!isOwnPort(target.port)) return undefined;
  return new MeshError('RECURSIVE_CALL', { detail: 'attempted recursive call to ourselves' });
}

function factsOf(
  ctx: ZtunnelContext,
  pod: InboundPod,
  workload: Workload,
  captured: Captured,
): ReportFacts {
  const mesh = ctx.feed.view;
  return {
    direction: 'inbound',
    trace: traceIdOf(newTraceparent(ctx.random)) ?? '',
    pod: pod.uid,
    source: captured.source,
    destination: captured.target,
    sourceWorkload: sourceWorkload(mesh, ctx.config.network, captured.source.ip, undefined),
    destinationWorkload: workload,
    service: addressedService(mesh, workload, undefined, captured.target.port),
    mutualTls: false,
  };
}
