// Backend and endpoint of one attempt: weights between backends, then the cluster's own choice among its endpoints.
import { type IpAddress, type IpPort, PairCache, weightedPick } from '../../core/base/index.ts';
import {
  findGateway,
  type GatewayAddress,
  type Listed,
  pickAddress,
  pickEndpoint,
  type Service,
  serviceEndpoints,
  waypointOf,
  type Workload,
  type WorkloadUid,
  workloadUid,
} from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Backend } from '../l7/backend.ts';
import type { Cluster } from '../l7/cluster.ts';
import type { Endpoint } from './tunnels.ts';

export function pickBackend(ctx: WaypointContext, all: readonly Backend[]): Backend | undefined {
  return weightedPick(
    all.filter((b) => b.weight > 0),
    (b) => b.weight,
    ctx.random,
  );
}

export interface TargetWish {
  readonly tried: ReadonlySet<WorkloadUid>;
  readonly hash?: bigint | undefined;
  /** Where a session wants to go; taken while it is there and ready. */
  readonly pinned?: ((uid: WorkloadUid) => boolean) | undefined;
  /** The address the caller used, for PASSTHROUGH. */
  readonly wanted?: IpPort;
}

/** Lists of subsets, as long as the whole list is the same. */
const subsets = new PairCache<readonly Listed[]>();

/** Everything that a cluster could send to, ready or not. The same list until the mesh changes. */
export function clusterEndpoints(ctx: WaypointContext, c: Cluster): readonly Listed[] {
  const service = ctx.view.service(c.service);
  if (!service) return [];
  const all = serviceEndpoints(ctx.view, service, c.port, ctx.self());
  const { members } = c;
  if (!members) return all;
  return subsets.get(all, members, '', () => all.filter((l) => members.has(l.workload.uid)));
}

/** `undefined` = none is fit. */
export function pickTarget(
  ctx: WaypointContext,
  c: Cluster,
  wish: TargetWish,
): Endpoint | undefined {
  if (c.wildcard !== undefined) return byName(ctx, c, wish.wanted);
  if (c.workload !== undefined) return exactly(ctx, c.workload, wish.wanted);
  const service = ctx.view.service(c.service);
  if (!service) return undefined;
  if (ctx.config.role === 'ingress' && service.ingressUseWaypoint) {
    const gateway = waypointOf(service, ctx.random);
    if (gateway) return throughWaypoint(ctx, service, gateway, c.port, wish.tried);
  }
  const listed = clusterEndpoints(ctx, c);
  const self = ctx.self();
  const { pinned, wanted } = wish;
  const asked = c.policy.balancer === 'passthrough' ? wanted : undefined;
  const exact =
    (pinned ?? asked) &&
    listed.find((l) => {
      if (!l.healthy || wish.tried.has(l.workload.uid)) return false;
      if (pinned?.(l.workload.uid)) return true;
      return asked !== undefined && l.workload.addresses.includes(asked.ip);
    });
  const picked =
    exact ??
    ctx.clusters.pick(c, listed, {
      self,
      own: service.loadBalancing,
      tried: wish.tried,
      hash: wish.hash,
    });
  if (!picked) return passed(ctx, service, c.port, wanted);
  const { workload, targetPort: port } = picked;
  const { hostname: host } = workload;
  if (workload.addresses.length === 0 && host !== '' && wanted) {
    return { workload, address: wanted.ip, port, host };
  }
  const family = self.addresses[0] ?? picked.workload.addresses[0];
  if (family === undefined) return undefined;
  const address = pickAddress(picked.workload, service, family);
  return address && { workload: picked.workload, address, port: picked.targetPort };
}

/** A wildcard host: the name that is meant, resolved when it is dialled. */
function byName(
  ctx: WaypointContext,
  { service: key, port, name }: Cluster,
  wanted: IpPort | undefined,
): Endpoint | undefined {
  const service = ctx.view.service(key);
  if (!service || name === undefined || !wanted) return undefined;
  const workload = outsider(ctx, service, name, []);
  const target = service.ports.find((p) => p.servicePort === port)?.targetPort || port;
  return { workload, address: wanted.ip, port: target, host: name, chosen: true };
}

/** A server outside the mesh that no entry names. */
const outsider = (
  ctx: WaypointContext,
  service: Service,
  name: string,
  addresses: readonly IpAddress[],
): Workload => ({
  ...ctx.self(),
  uid: workloadUid(`outside/${name}`),
  name: service.name,
  namespace: service.namespace,
  addresses: [...addresses],
  protocol: 'TCP',
  services: new Map(),
});

/** An entry without endpoints of its own (resolution NONE): where the caller wanted to go. */
function passed(
  ctx: WaypointContext,
  service: Service,
  port: number,
  wanted: IpPort | undefined,
): Endpoint | undefined {
  if (service.loadBalancing?.mode !== 'Passthrough' || !wanted) return undefined;
  const mapped = service.ports.find((p) => p.servicePort === port);
  const workload = outsider(ctx, service, wanted.ip, [wanted.ip]);
  return { workload, address: wanted.ip, port: mapped?.targetPort || port };
}

function exactly(
  ctx: WaypointContext,
  uid: WorkloadUid,
  wanted: IpPort | undefined,
): Endpoint | undefined {
  const workload = ctx.view.workload(uid);
  if (!workload || !wanted || !workload.addresses.includes(wanted.ip)) return undefined;
  return { workload, address: wanted.ip, port: wanted.port };
}

/** `undefined` = its waypoint cannot be used; never around it. */
function throughWaypoint(
  ctx: WaypointContext,
  service: Service,
  gateway: GatewayAddress,
  port: number,
  tried: ReadonlySet<WorkloadUid>,
): Endpoint | undefined {
  const self = ctx.self();
  const family = self.addresses[0];
  const vip = service.vips.find((v) => v.network === ctx.config.network)?.ip;
  const found = findGateway(ctx.view, gateway);
  if (!found || !vip || family === undefined) return undefined;
  const pick = (except: ReadonlySet<WorkloadUid>) =>
    found.kind === 'workload'
      ? { workload: found.workload, targetPort: gateway.hboneMtlsPort }
      : pickEndpoint(ctx.view, found.service, gateway.hboneMtlsPort, self, ctx.random, {
          waypoint: true,
          except,
        });
  const picked = pick(tried) ?? pick(new Set());
  const owner = found.kind === 'service' ? found.service : undefined;
  const ip = picked && pickAddress(picked.workload, owner, family);
  if (!picked || !ip) return undefined;
  return { workload: picked.workload, address: vip, port, via: { ip, port: picked.targetPort } };
}
