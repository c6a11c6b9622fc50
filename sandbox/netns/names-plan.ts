// The names of a cluster, as its DNS server gives them (Kubernetes DNS specification 1.1): services, headless
// services and their pods, named ports, pods by address. Pure.
import { type IpAddress, isIpv6, parseIp } from '../../core/base/index.ts';
import { addressRecord, type DnsRecord, recordTypes } from '../../core/dns/index.ts';
import type { EndpointSlice, Pod, Service } from '../objects.ts';

export const clusterDomain = 'cluster.local';
const ttl = 5;

/** Name → what it has; a name without records exists all the same. */
export type ClusterNames = ReadonlyMap<string, readonly DnsRecord[]>;

export interface NameFacts {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly pods: readonly Pod[];
}

interface Place {
  readonly ip: IpAddress;
  /** The label under a headless service. */
  readonly label: string;
  readonly ports: readonly {
    readonly name: string;
    readonly protocol: string;
    readonly port: number;
  }[];
}

export function clusterNames({ services, slices, pods }: NameFacts): ClusterNames {
  const names = new Map<string, DnsRecord[]>();
  const add = (name: string, ...records: DnsRecord[]): void => {
    names.set(name, [...(names.get(name) ?? []), ...records]);
    // RFC 8020: what is above a name exists.
    for (let up = above(name); isOurs(up) && !names.has(up); up = above(up)) names.set(up, []);
  };
  const places = placesByService(slices, pods);
  for (const service of services) {
    const { name, namespace = '' } = service.metadata;
    const host = `${name}.${namespace}.svc.${clusterDomain}`;
    const external = service.spec['externalName'];
    if (service.spec.type === 'ExternalName') {
      if (typeof external === 'string') add(host, record(host, 'CNAME', external.toLowerCase()));
      continue;
    }
    add(host);
    if (service.spec.clusterIP === 'None') {
      for (const place of places.get(`${namespace}/${name}`) ?? []) addPlace(add, host, place);
      continue;
    }
    for (const text of service.spec.clusterIPs ?? [service.spec.clusterIP ?? '']) {
      const ip = parseIp(text);
      if (ip) add(host, addressRecord(host, ttl, ip));
    }
    for (const port of service.spec.ports ?? []) {
      const srv = (owner: string): void => add(owner, serviceRecord(owner, port.port, host));
      srv(host);
      if (port.name) srv(portName(port.name, port.protocol, host));
    }
  }
  for (const pod of pods) {
    for (const ip of addressesOf(pod)) {
      const name = `${dashed(ip)}.${pod.metadata.namespace ?? ''}.pod.${clusterDomain}`;
      add(name, addressRecord(name, ttl, ip));
    }
  }
  return names;
}

/** What the server answers; `undefined` = there is no such name. A CNAME is not followed. */
export function lookUp(names: ClusterNames, name: string, type: number): DnsRecord[] | undefined {
  return names
    .get(name)
    ?.filter(({ data }) => recordTypes[data.type] === type || data.type === 'CNAME');
}

export const resolvConf = (server: string, namespace: string | undefined): string =>
  [
    ...(namespace === undefined
      ? []
      : [`search ${namespace}.svc.${clusterDomain} svc.${clusterDomain} ${clusterDomain}`]),
    `nameserver ${server}`,
    'options ndots:5',
    '',
  ].join('\n');

function addPlace(
  add: (name: string, ...records: DnsRecord[]) => void,
  host: string,
  { ip, label, ports }: Place,
): void {
  const own = `${label}.${host}`;
  add(host, addressRecord(host, ttl, ip));
  add(own, addressRecord(own, ttl, ip));
  for (const { name, protocol, port } of ports) {
    add(host, serviceRecord(host, port, own));
    if (name === '') continue;
    const owner = portName(name, protocol, host);
    add(owner, serviceRecord(owner, port, own));
  }
}

function placesByService(
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
): ReadonlyMap<string, readonly Place[]> {
  const byUid = new Map(pods.map((pod) => [pod.metadata.uid, pod]));
  const out = new Map<string, Place[]>();
  for (const slice of slices) {
    const { namespace = '', labels } = slice.metadata;
    const service = labels?.['kubernetes.io/service-name'];
    if (service === undefined) continue;
    const key = `${namespace}/${service}`;
    const ports = (slice.ports ?? []).flatMap((p) =>
      p.port === undefined
        ? []
        : [{ name: p.name ?? '', protocol: p.protocol ?? 'TCP', port: p.port }],
    );
    for (const { addresses, conditions, targetRef } of slice.endpoints ?? []) {
      const ip = parseIp(addresses[0] ?? '');
      if (!ip || conditions?.ready === false) continue;
      const spec = byUid.get(targetRef?.uid)?.spec;
      const label = spec?.subdomain === service ? (spec.hostname ?? dashed(ip)) : dashed(ip);
      out.set(key, [...(out.get(key) ?? []), { ip, label, ports }]);
    }
  }
  return out;
}

const addressesOf = (pod: Pod): IpAddress[] =>
  (pod.status?.podIPs ?? [{ ip: pod.status?.podIP ?? '' }]).flatMap(({ ip }) => parseIp(ip) ?? []);

const dashed = (ip: IpAddress): string => ip.replaceAll(isIpv6(ip) ? ':' : '.', '-');
const isOurs = (name: string): boolean =>
  name === clusterDomain || name.endsWith(`.${clusterDomain}`);
const above = (name: string): string => name.slice(name.indexOf('.') + 1 || name.length);
const portName = (port: string, protocol: string | undefined, host: string): string =>
  `_${port}._${(protocol ?? 'TCP').toLowerCase()}.${host}`;
const record = (name: string, type: 'CNAME', target: string): DnsRecord => ({
  name,
  ttl,
  data: { type, target },
});
const serviceRecord = (name: string, port: number, target: string): DnsRecord => ({
  name,
  ttl,
  data: { type: 'SRV', port, target },
});
