// Endpoint choice: candidates, locality rank, weight, target port, address (ztunnel-protocol.md 3.5–3.7).
import { type IpAddress, isIpv6, type Random } from '../base/index.ts';
import type { MeshView } from './mesh-state.ts';
import type { BalanceScope, Service } from './service.ts';
import { type Endpoint, serviceKey } from './service-store.ts';
import type { Workload } from './workload.ts';

export interface Picked {
  readonly workload: Workload;
  readonly targetPort: number;
}

function matches(scope: BalanceScope, from: Workload, to: Workload): boolean {
  switch (scope) {
    case 'Region':
      return from.locality.region === to.locality.region;
    case 'Zone':
      return from.locality.zone === to.locality.zone;
    case 'Subzone':
      return from.locality.subzone === to.locality.subzone;
    case 'Node':
      return from.node === to.node;
    case 'Cluster':
      return from.clusterId === to.clusterId;
    case 'Network':
      return from.network === to.network;
  }
}

/**
 * Consecutive preferences matched from the left. A leading Network counts N − 1 extra when matched and
 * is skipped when not, so that any near endpoint outranks every remote one.
 */
export function localityRank(
  preferences: readonly BalanceScope[],
  from: Workload,
  to: Workload,
): number {
  let rank = 0;
  for (const [i, scope] of preferences.entries()) {
    if (matches(scope, from, to)) {
      rank += i === 0 && scope === 'Network' ? preferences.length : 1;
    } else if (!(i === 0 && scope === 'Network')) {
      break;
    }
  }
  return rank;
}

/** Endpoint's own mapping, else the service's, else the port itself for an application tunnel. */
export function targetPort(
  service: Service,
  servicePort: number,
  endpoint: Pick<Endpoint, 'ports'>,
  workload: Pick<Workload, 'applicationTunnel'>,
): number | undefined {
  const mapped = endpoint.ports.get(servicePort);
  if (mapped !== undefined && mapped > 0) return mapped;
  const port = service.ports.find((p) => p.servicePort === servicePort);
  if (port && port.targetPort > 0) return port.targetPort;
  return workload.applicationTunnel && workload.applicationTunnel.port > 0
    ? servicePort
    : undefined;
}

export interface PickOptions {
  /** The service is a waypoint: an application tunnel stands in for a listed port (3.5.3). */
  readonly waypoint?: boolean;
  /** Workloads to leave out: the ones that just failed to connect. */
  readonly except?: ReadonlySet<string>;
}

export interface Listed extends Picked {
  /** Ready, or the service takes any. */
  readonly healthy: boolean;
}

/** Everything behind a port that could be reached, ready or not. */
export function serviceEndpoints(
  view: MeshView,
  service: Service,
  servicePort: number,
  from: Workload,
  options: PickOptions = {},
): readonly Listed[] {
  const waypoint = options.waypoint === true;
  const text = [servicePort, waypoint, from.network].join('\0');
  const list = remembered(keptFor(view, service).lists, text, () =>
    listEndpoints(view, service, servicePort, from, waypoint),
  );
  const { except } = options;
  return except && except.size > 0 ? list.filter((l) => !except.has(l.workload.uid)) : list;
}

function listEndpoints(
  view: MeshView,
  service: Service,
  servicePort: number,
  from: Workload,
  waypoint: boolean,
): Listed[] {
  const listed = service.ports.some((p) => p.servicePort === servicePort);
  if (!listed && !waypoint) return [];
  const all = service.loadBalancing?.healthPolicy === 'AllowAll';
  const found: Listed[] = [];
  for (const endpoint of view.endpoints(serviceKey(service)).values()) {
    const workload = view.workload(endpoint.workload);
    if (!workload) continue;
    const remote = workload.network !== from.network && workload.networkGateway !== undefined;
    if (workload.addresses.length === 0 && workload.hostname === '' && !remote) continue;
    if (!listed && !workload.applicationTunnel) continue;
    // Only a waypoint's application tunnel stands in for a mapping.
    const port = targetPort(service, servicePort, endpoint, waypoint ? workload : {});
    if (port === undefined) continue;
    found.push({ workload, targetPort: port, healthy: endpoint.healthy || all });
  }
  return found;
}

/** What a weighted draw needs, so that it takes the same time for any number of endpoints. */
interface Draw {
  readonly among: readonly Picked[];
  /** Running sums of their weights. */
  readonly upTo: Float64Array;
}

interface Kept {
  readonly view: MeshView;
  readonly revision: number;
  readonly lists: Map<string, readonly Listed[]>;
  readonly draws: Map<string, Draw>;
}

const mostKept = 256;
const keptLists = new WeakMap<Service, Kept>();

/** Lists of a service that were worked out since the mesh last changed. */
function keptFor(view: MeshView, service: Service): Kept {
  const known = keptLists.get(service);
  if (known?.view === view && known.revision === view.revision) return known;
  const kept: Kept = { view, revision: view.revision, lists: new Map(), draws: new Map() };
  keptLists.set(service, kept);
  return kept;
}

function remembered<V>(all: Map<string, V>, text: string, make: () => V): V {
  const known = all.get(text);
  if (known !== undefined) return known;
  if (all.size >= mostKept) all.clear();
  const value = make();
  all.set(text, value);
  return value;
}

/** One endpoint of a service, or `undefined` if none is fit. */
export function pickEndpoint(
  view: MeshView,
  service: Service,
  servicePort: number,
  from: Workload,
  random: Random,
  options: PickOptions = {},
): Picked | undefined {
  const make = (): Draw =>
    makeDraw(nearest(service, serviceEndpoints(view, service, servicePort, from, options), from));
  // After a failure the choice is another each time: worked out afresh.
  if (options.except && options.except.size > 0) return drawn(make(), random);
  const { region, zone, subzone } = from.locality;
  const { network, node, clusterId } = from;
  const place = isPlain(service) ? [network] : [network, region, zone, subzone, node, clusterId];
  const text = [servicePort, options.waypoint === true, ...place].join('\0');
  return drawn(remembered(keptFor(view, service).draws, text, make), random);
}

const isPlain = ({ loadBalancing: b }: Service): boolean =>
  b === undefined || b.mode === 'Standard' || b.mode === 'Passthrough';

/** Those that are fit and as near as the service asks for. */
function nearest(service: Service, listed: readonly Listed[], from: Workload): readonly Picked[] {
  const fit = listed.filter((p) => p.healthy);
  const balancing = service.loadBalancing;
  if (!balancing || isPlain(service)) return fit;
  if (balancing.mode === 'Strict') {
    return fit.filter((p) => balancing.preferences.every((s) => matches(s, from, p.workload)));
  }
  const ranks = fit.map((p) => localityRank(balancing.preferences, from, p.workload));
  const top = ranks.reduce((most, r) => Math.max(most, r), 0);
  return fit.filter((_, i) => ranks[i] === top);
}

function makeDraw(among: readonly Picked[]): Draw {
  const upTo = new Float64Array(among.length);
  let sum = 0;
  for (const [i, p] of among.entries()) upTo[i] = sum += Math.max(0, p.workload.capacity);
  return { among, upTo };
}

/** By weight; what weighs nothing is never chosen. */
function drawn({ among, upTo }: Draw, random: Random): Picked | undefined {
  const total = upTo[upTo.length - 1] ?? 0;
  if (total <= 0) return undefined;
  const aim = random.next() * total;
  let low = 0;
  let high = upTo.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((upTo[middle] ?? 0) > aim) high = middle;
    else low = middle + 1;
  }
  // Rounding may aim at the very end.
  while (low > 0 && upTo[low] === upTo[low - 1]) low--;
  return among[low];
}

/** The workload address to dial for a call that asked for `wanted` (3.7); `undefined` = only by name or gateway. */
export function pickAddress(
  workload: Workload,
  service: Service | undefined,
  wanted: IpAddress,
): IpAddress | undefined {
  if (workload.addresses.includes(wanted)) return wanted;
  const allowed = workload.addresses.filter((ip) => {
    if (service?.ipFamilies === 'IPv4') return !isIpv6(ip);
    if (service?.ipFamilies === 'IPv6') return isIpv6(ip);
    return true;
  });
  return allowed.find((ip) => isIpv6(ip) === isIpv6(wanted)) ?? allowed[0];
}
