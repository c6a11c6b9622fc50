// What a name means in the mesh for one pod: an answer, or a question for the name servers
// (ztunnel-protocol.md 10.2, 10.3). Pure.
import { isIpv6, type IpAddress } from '../../core/base/index.ts';
import { addressRecord, type DnsRecord, recordTypes } from '../../core/dns/index.ts';
import { type MeshView, namespacedHost, type Service } from '../../core/model/index.ts';

export interface DnsFacts {
  readonly mesh: MeshView;
  /** The pod that asks. */
  readonly client: { readonly namespace: string; readonly network: string };
  readonly clusterDomain: string;
  /** Tried after the pod's own namespace and the canonical service. */
  readonly preferredNamespace: string;
  readonly ipv6: boolean;
  /** Another order of the addresses. */
  readonly shuffle: (ips: readonly IpAddress[]) => readonly IpAddress[];
}

export type DnsPlan =
  /** `no-records`: the name is known, but has nothing of this type. */
  | {
      readonly do: 'answer';
      readonly result: 'success' | 'no-records' | 'unsupported-family';
      readonly answers: readonly DnsRecord[];
      readonly additional: readonly DnsRecord[];
    }
  | { readonly do: 'forward' };

/** Seconds that local records live. */
const ttl = 30;
const forward: DnsPlan = { do: 'forward' };
const known: ReadonlySet<number> = new Set([recordTypes.A, recordTypes.AAAA, recordTypes.SRV]);

/** `name` in lower case, without its final dot. */
export function planDns(name: string, type: number, facts: DnsFacts): DnsPlan {
  if (!known.has(type)) return forward;
  const found = findService(name, facts);
  if (!found) return planPod(name, type, facts);
  const { service } = found;
  if (type === recordTypes.SRV) return planSrv(name, service, facts);
  const six = type === recordTypes.AAAA;
  if (!servesFamily(service, six, facts)) return answer('unsupported-family', []);
  const ips = addressesOf(service, six, facts);
  if (ips.length === 0) return answer('no-records', []);
  const owner = found.stripped ?? name;
  const records = ips.map((ip) => addressRecord(owner, ttl, ip));
  const alias: DnsRecord = { name, ttl, data: { type: 'CNAME', target: owner } };
  return answer('success', owner === name ? records : [alias, ...records]);
}

const answer = (
  result: 'success' | 'no-records' | 'unsupported-family',
  answers: readonly DnsRecord[],
  additional: readonly DnsRecord[] = [],
): DnsPlan => ({ do: 'answer', result, answers, additional });

export interface Alias {
  readonly host: string;
  /** The name without the search domain it was found under. */
  readonly stripped?: string;
}

export const searchDomains = (ns: string, domain: string): string[] => [
  `${ns}.svc.${domain}`,
  `svc.${domain}`,
  domain,
];

/** What a client may have meant, in the order it is tried (Z47). */
export function aliasesOf(name: string, ns: string, domain: string): Alias[] {
  const out = new Map<string, Alias>();
  const add = (host: string, stripped?: string): void => {
    if (!out.has(host)) out.set(host, { host, ...(stripped !== undefined && { stripped }) });
  };
  add(name);
  for (const host of expansions(name, ns, domain)) add(host);
  for (const search of searchDomains(ns, domain)) {
    if (!name.endsWith(`.${search}`)) continue;
    const stripped = name.slice(0, -search.length - 1);
    add(stripped, stripped);
    for (const host of expansions(stripped, ns, domain)) add(host, stripped);
  }
  return [...out.values()];
}

function expansions(name: string, ns: string, domain: string): string[] {
  const labels = name.split('.');
  const endsInSvc = labels.at(-1) === 'svc';
  if (labels.length === 1) return [`${name}.${ns}.svc.${domain}`];
  if (labels.length === 2) return [`${name}.svc.${domain}`, `${name}.${ns}.svc.${domain}`];
  if (labels.length === 3) {
    return [...(endsInSvc ? [`${name}.${domain}`] : []), `${name}.svc.${domain}`];
  }
  return labels.length === 4 && endsInSvc ? [`${name}.${domain}`] : [];
}

/** `*.b.c`, `*.c` of `a.b.c`. */
const wildcards = (host: string): string[] =>
  host.split('.').flatMap((_, i, labels) => (i === 0 ? [] : [`*.${labels.slice(i).join('.')}`]));

interface FoundService {
  readonly service: Service;
  /** The name that the addresses belong to, if it is not the one that was asked for. */
  readonly stripped?: string;
}

function findService(name: string, facts: DnsFacts): FoundService | undefined {
  const { client, clusterDomain } = facts;
  for (const { host, stripped } of aliasesOf(name, client.namespace, clusterDomain)) {
    const exact = best(host, facts);
    if (exact) return { service: exact, ...(stripped !== undefined && { stripped }) };
    for (const wild of wildcards(host)) {
      const service = best(wild, facts);
      if (service) return { service };
    }
  }
  return undefined;
}

/** Same namespace, then canonical, then the preferred namespace, then the first. */
function best(host: string, facts: DnsFacts): Service | undefined {
  const { mesh, client, preferredNamespace } = facts;
  const rank = (s: Service): number => {
    if (s.namespace === client.namespace) return 3;
    if (s.canonical) return 2;
    return s.namespace === preferredNamespace ? 1 : 0;
  };
  let found: Service | undefined;
  for (const s of mesh.servicesByHost(host, client.namespace)) {
    if (s.vips.length === 0 && !isHeadless(s, facts)) continue;
    if (!found || rank(s) > rank(found)) found = s;
  }
  return found;
}

const isHeadless = (s: Service, { clusterDomain }: DnsFacts): boolean =>
  s.vips.length === 0 && s.hostname.endsWith(`.svc.${clusterDomain}`);

function servesFamily(s: Service, six: boolean, { ipv6 }: DnsFacts): boolean {
  if (six && !ipv6) return false;
  return s.ipFamilies !== (six ? 'IPv4' : 'IPv6');
}

/** VIPs of the client's own network; without any VIP, the endpoints' addresses. */
function addressesOf(s: Service, six: boolean, facts: DnsFacts): readonly IpAddress[] {
  const { client, shuffle } = facts;
  const ips =
    s.vips.length > 0
      ? s.vips.filter((v) => v.network === client.network).map((v) => v.ip)
      : endpointsOf(s, facts).flatMap((e) => firstOf(e.ips, six) ?? []);
  return shuffle(ips.filter((ip) => isIpv6(ip) === six));
}

const firstOf = (ips: readonly IpAddress[], six: boolean): IpAddress | undefined =>
  ips.find((ip) => isIpv6(ip) === six);

function endpointsOf(
  s: Service,
  { mesh }: DnsFacts,
): { readonly name: string; readonly ips: readonly IpAddress[] }[] {
  const all = s.loadBalancing?.healthPolicy === 'AllowAll';
  const out: { name: string; ips: readonly IpAddress[] }[] = [];
  for (const { workload: uid, healthy } of mesh
    .endpoints(namespacedHost(s.namespace, s.hostname))
    .values()) {
    const workload = mesh.workload(uid);
    if (workload && (healthy || all)) out.push({ name: workload.name, ips: workload.addresses });
  }
  return out;
}

/** `pod.service.ns.svc.D` of a headless service: the pod of that name, if it is an endpoint. */
function planPod(name: string, type: number, facts: DnsFacts): DnsPlan {
  const dot = name.indexOf('.');
  if (dot < 1 || type === recordTypes.SRV) return forward;
  const found = findService(name.slice(dot + 1), facts);
  if (!found || !isHeadless(found.service, facts)) return forward;
  const pod = endpointsOf(found.service, facts).find((e) => e.name === name.slice(0, dot));
  if (!pod) return forward;
  const six = type === recordTypes.AAAA;
  if (!servesFamily(found.service, six, facts)) return answer('unsupported-family', []);
  const ip = firstOf(pod.ips, six);
  return ip ? answer('success', [addressRecord(name, ttl, ip)]) : answer('no-records', []);
}

/**
 * The ports of a service. What the mesh knows has no names of ports: `_http._tcp.web…` is a question for
 * the cluster's own name server, and comes here under a name that no service has.
 */
function planSrv(name: string, s: Service, facts: DnsFacts): DnsPlan {
  if (s.hostname.startsWith('*') || s.vips.length === 0 || name.startsWith('_')) return forward;
  const records = s.ports.map(
    ({ servicePort }): DnsRecord => ({
      name,
      ttl,
      data: { type: 'SRV', port: servicePort, target: s.hostname },
    }),
  );
  if (records.length === 0) return answer('no-records', []);
  const extra = [false, true]
    .filter((six) => servesFamily(s, six, facts))
    .flatMap((six) => addressesOf(s, six, facts))
    .map((ip) => addressRecord(s.hostname, ttl, ip));
  return answer('success', records, extra);
}
