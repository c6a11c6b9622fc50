// ServiceEntry and WorkloadEntry as the control plane reads them (control-plane.md 2.4, 2.5). What cannot be
// meant is left out or drops the object, as noted at each field (K9).
import { type Cidr, type IpAddress, parseCidr, parseIp } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { type Condition, readConditions } from './policies.ts';
import {
  type Dict,
  dict,
  field,
  isPort,
  list,
  type Meta,
  readMeta,
  text,
  texts,
} from './objects.ts';

/** An endpoint outside of the cluster: a WorkloadEntry, or one written into a ServiceEntry. */
export interface EndpointFacts {
  /** An address, or a name that the proxies resolve. */
  readonly address: string;
  readonly ip: IpAddress | undefined;
  readonly ports: ReadonlyMap<string, number>;
  readonly labels: Dict;
  readonly network: string;
  /** `region/zone/subzone`, as far as given. */
  readonly locality: string;
  /** 0 = not given. */
  readonly weight: number;
  readonly serviceAccount: string;
}

export interface WorkloadEntryFacts extends Meta {
  /** Absent = nothing to send to (no address, a unix socket). */
  readonly endpoint: EndpointFacts | undefined;
}

export type Resolution = 'NONE' | 'STATIC' | 'DNS';

export interface EntryPortFacts {
  readonly number: number;
  readonly targetPort: number;
  readonly name: string;
  readonly protocol: string;
}

export interface ServiceEntryFacts extends Meta {
  /** Lower case. */
  readonly hosts: readonly string[];
  readonly addresses: readonly (IpAddress | Cidr)[];
  /** By host: what was allocated and written into the status. */
  readonly allocated: ReadonlyMap<string, readonly IpAddress[]>;
  readonly ports: readonly EntryPortFacts[];
  readonly resolution: Resolution;
  /** Names are resolved anew by whoever connects: wildcard hosts may have addresses. */
  readonly dynamic: boolean;
  readonly endpoints: readonly EndpointFacts[];
  /** Absent = selects nothing. */
  readonly selector: Dict | undefined;
  readonly subjectAltNames: readonly string[];
  /** Conditions now on the object. */
  readonly conditions: readonly Condition[];
  /** Why it is not sent to anybody; absent = it is. */
  readonly fault?: string;
  /** Parts of it that are not, each with why. */
  readonly unserved: readonly string[];
}

const hostPart = (label: string): boolean =>
  label.length > 0 &&
  label.length <= 63 &&
  Array.from(label).every(
    (c) => (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c === '-' || c === '_',
  );

/** A host name, or `*.` before one; in lower case. `*` alone would take the names of everybody (K9). */
function readHost(name: string): string | undefined {
  const host = name.toLowerCase();
  if (host.length > 253) return undefined;
  const labels = host.split('.');
  const rest = labels[0] === '*' ? labels.slice(1) : labels;
  return rest.length > 0 && rest.every(hostPart) ? host : undefined;
}

function readEndpoint(o: unknown, labels: Dict): EndpointFacts | undefined {
  const address = text(field(o, 'address')).trim();
  const ip = parseIp(address);
  if (address === '' || (ip === undefined && readHost(address) === undefined)) return undefined;
  const ports = new Map<string, number>();
  const given = field(o, 'ports');
  if (typeof given === 'object' && given !== null) {
    for (const [name, port] of Object.entries(given)) if (isPort(port)) ports.set(name, port);
  }
  const weight = field(o, 'weight');
  return {
    address: ip ?? address.toLowerCase(),
    ip,
    ports,
    labels: new Map([...labels, ...dict(field(o, 'labels'))]),
    network: text(field(o, 'network')),
    locality: text(field(o, 'locality')),
    weight: Number.isInteger(weight) && Number(weight) > 0 ? Math.min(Number(weight), 2 ** 31) : 0,
    serviceAccount: text(field(o, 'serviceAccount')),
  };
}

export function readWorkloadEntry(o: KubeObject): WorkloadEntryFacts {
  const meta = readMeta(o.metadata);
  return { ...meta, endpoint: readEndpoint(o['spec'], meta.labels) };
}

function readPorts(spec: unknown): EntryPortFacts[] {
  return list(field(spec, 'ports')).flatMap((p) => {
    const number = field(p, 'number');
    if (!isPort(number)) return [];
    const target = field(p, 'targetPort');
    return [
      {
        number,
        targetPort: isPort(target) ? target : number,
        name: text(field(p, 'name')),
        protocol: text(field(p, 'protocol')).toUpperCase(),
      },
    ];
  });
}

function readAllocated(o: KubeObject): Map<string, IpAddress[]> {
  const out = new Map<string, IpAddress[]>();
  for (const a of list(field(o['status'], 'addresses'))) {
    const ip = parseIp(text(field(a, 'value')));
    const host = text(field(a, 'host')).toLowerCase();
    if (ip) out.set(host, [...(out.get(host) ?? []), ip]);
  }
  return out;
}

export function readServiceEntry(o: KubeObject): ServiceEntryFacts {
  const spec = o['spec'];
  const names = texts(field(spec, 'hosts'));
  const hosts = names.map(readHost);
  const given = texts(field(spec, 'addresses'));
  const addresses = given.map((a) => (a.includes('/') ? parseCidr(a) : parseIp(a)));
  const resolution = text(field(spec, 'resolution')) || 'NONE';
  const dns = resolution.startsWith('DNS') || resolution === 'DYNAMIC_DNS';
  const labels = field(spec, 'workloadSelector', 'labels');
  const dynamic = resolution === 'DYNAMIC_DNS';
  const badHost = names[hosts.findIndex((h) => h === undefined)];
  const badAddress = given[addresses.findIndex((a) => a === undefined)];
  const fault =
    names.length === 0
      ? 'it has no hosts'
      : badHost !== undefined
        ? `host ${JSON.stringify(badHost.slice(0, 80))} is no host name`
        : badAddress !== undefined
          ? `address ${JSON.stringify(badAddress.slice(0, 80))} is none`
          : dynamic && field(spec, 'location') === 'MESH_INTERNAL'
            ? 'resolution DYNAMIC_DNS is for what lies outside: location MESH_EXTERNAL'
            : undefined;
  return {
    ...readMeta(o.metadata),
    hosts: [...new Set(hosts.filter((h) => h !== undefined))],
    addresses: addresses.filter((a) => a !== undefined),
    allocated: readAllocated(o),
    ports: readPorts(spec),
    resolution: dns ? 'DNS' : resolution === 'STATIC' ? 'STATIC' : 'NONE',
    dynamic,
    // Names are resolved as they are asked for: endpoints do not count there.
    endpoints: (dynamic ? [] : list(field(spec, 'endpoints')))
      .map((e) => readEndpoint(e, new Map()))
      .filter((e) => e !== undefined),
    selector: labels === undefined ? undefined : dict(labels),
    subjectAltNames: texts(field(spec, 'subjectAltNames')),
    conditions: readConditions(o),
    unserved: unserved(spec, labels !== undefined),
    ...(fault !== undefined && { fault }),
  };
}

/** Parts that contradict the resolution; the rest of the entry is served. */
function unserved(spec: unknown, selects: boolean): string[] {
  const resolution = text(field(spec, 'resolution'));
  const listed = list(field(spec, 'endpoints')).length > 0;
  if (resolution === 'DYNAMIC_DNS')
    return listed ? ['endpoints: resolution DYNAMIC_DNS takes names from requests'] : [];
  if (!resolution.startsWith('DNS') || listed || selects) return [];
  return texts(field(spec, 'hosts'))
    .filter((h) => h.startsWith('*'))
    .map((h) => `host ${h}: resolution ${resolution} cannot ask for a wildcard, DYNAMIC_DNS can`);
}
