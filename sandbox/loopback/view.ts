// From pods, services and slices to what the capture judges by, and to the names pods see. Pure.
import { isIPv4 } from 'node:net';
import {
  type EndpointSlice,
  isTerminal,
  type Pod,
  type Service,
  type ServiceEntry,
  type ServicePort,
} from '../objects.ts';
import { type Block, inBlock } from './addresses.ts';
import type { CaptureView, Endpoint, PodView } from './decide.ts';
import type { NamedService, OutsideName } from './hosts-text.ts';

/** How a pod's traffic goes; absent = not in the mesh. */
export interface MeshFlags {
  readonly outbound: boolean;
  readonly inbound: boolean;
}

export interface ClusterFacts {
  readonly block: Block;
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly entries: readonly ServiceEntry[];
  readonly flags: ReadonlyMap<string, MeshFlags>;
  hostsPath(uid: string): string;
}

export function buildView(facts: ClusterFacts): CaptureView {
  const pods = new Map<string, PodView>();
  for (const pod of facts.pods) {
    const ip = pod.status?.podIP;
    const { uid } = pod.metadata;
    if (ip === undefined || uid === undefined || isTerminal(pod)) continue;
    const flags = facts.flags.get(uid) ?? { outbound: false, inbound: false };
    pods.set(ip, { uid, ip, ...flags, hosts: facts.hostsPath(uid) });
  }
  const slices = slicesByService(facts.slices);
  const services = new Map<string, readonly Endpoint[]>();
  for (const service of facts.services) {
    const ip = service.spec.clusterIP;
    if (ip === undefined || !inBlock(facts.block, ip)) continue;
    for (const port of service.spec.ports ?? []) {
      if ((port.protocol ?? 'TCP') !== 'TCP') continue;
      services.set(`${ip}:${port.port}`, endpointsOf(port, slices.get(serviceKey(service)) ?? []));
    }
  }
  const outside = new Set(outsideNames(facts.entries).flatMap((n) => n.addresses));
  return { block: facts.block, pods, services, outside };
}

/** Hosts of ServiceEntries with their own addresses, or those that the mesh gave them. */
export function outsideNames(entries: readonly ServiceEntry[]): OutsideName[] {
  return entries
    .flatMap(({ spec, status }) =>
      (spec?.hosts ?? []).map((host): OutsideName => {
        const given = (status?.addresses ?? []).filter((a) => a.host === host);
        const own = spec?.addresses ?? [];
        const all = own.length > 0 ? own : given.map((a) => a.value ?? '');
        return { host, addresses: all.filter((a) => isIPv4(a)) };
      }),
    )
    .filter((n) => n.addresses.length > 0 && !n.host.includes('*'))
    .toSorted((a, b) => a.host.localeCompare(b.host));
}

export interface ServiceEndpoints {
  readonly ip: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  readonly endpoints: readonly Endpoint[];
}

/** Every port of every service with an address of the family, and who is ready behind it. */
export function serviceEndpoints(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
  family: 'IPv4' | 'IPv6' = 'IPv4',
): ServiceEndpoints[] {
  const byService = slicesByService(slices, family);
  return services.flatMap((service) => {
    const { clusterIP, clusterIPs = [clusterIP ?? 'None'] } = service.spec;
    const ip = clusterIPs.find((one) => one.includes(':') === (family === 'IPv6'));
    if (ip === undefined || ip === 'None') return [];
    return (service.spec.ports ?? []).map((port) => ({
      ip,
      port: port.port,
      protocol: port.protocol === 'UDP' ? ('udp' as const) : ('tcp' as const),
      endpoints: endpointsOf(port, byService.get(serviceKey(service)) ?? []),
    }));
  });
}

const serviceKey = (s: Service): string => `${s.metadata.namespace ?? ''}/${s.metadata.name}`;

function slicesByService(
  slices: readonly EndpointSlice[],
  family: 'IPv4' | 'IPv6' = 'IPv4',
): Map<string, EndpointSlice[]> {
  const out = new Map<string, EndpointSlice[]>();
  for (const slice of slices) {
    const name = slice.metadata.labels?.['kubernetes.io/service-name'];
    if (name === undefined || slice.addressType !== family) continue;
    const key = `${slice.metadata.namespace ?? ''}/${name}`;
    out.set(key, [...(out.get(key) ?? []), slice]);
  }
  return out;
}

function endpointsOf(port: ServicePort, slices: readonly EndpointSlice[]): Endpoint[] {
  return slices.flatMap((slice) => {
    const target = (slice.ports ?? []).find((p) => (p.name ?? '') === (port.name ?? ''))?.port;
    if (target === undefined) return [];
    return readyAddresses(slice).map((ip) => ({ ip, port: target }));
  });
}

const readyAddresses = (slice: EndpointSlice): string[] =>
  (slice.endpoints ?? [])
    .filter((e) => e.conditions?.ready !== false)
    .flatMap((e) => e.addresses.slice(0, 1));

/** Every service with an address, sorted by namespace and name. */
export function namedServices(
  facts: Pick<ClusterFacts, 'services' | 'slices'>,
  isOurs: (ip: string) => boolean,
): NamedService[] {
  const slices = slicesByService(facts.slices);
  return facts.services
    .map((service): NamedService => {
      const { clusterIP } = service.spec;
      const headless = clusterIP === 'None';
      const pods = (slices.get(serviceKey(service)) ?? []).flatMap(readyAddresses);
      const own = clusterIP !== undefined && isOurs(clusterIP) ? [clusterIP] : [];
      return {
        name: service.metadata.name,
        namespace: service.metadata.namespace ?? '',
        addresses: headless ? [...new Set(pods)].toSorted() : own,
      };
    })
    .filter((s) => s.addresses.length > 0)
    .toSorted((a, b) => sortKey(a).localeCompare(sortKey(b)));
}

const sortKey = (s: NamedService): string => `${s.namespace}/${s.name}`;
