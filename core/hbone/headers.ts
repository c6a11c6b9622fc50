// The headers of a CONNECT and of its answer, built and read (ztunnel-protocol.md 2.2–2.4). Everything
// read here is telemetry; identity, address and policy never come from a header (C11, C12).
import {
  type IpPort,
  parseAuthority,
  printIpPort,
  type FaultCode,
  printReason,
} from '../base/index.ts';
import type { Workload } from '../model/index.ts';

/** Header lines as HTTP/2 gives them; repeated ones joined by `, ` or as a list. */
export type Headers = Readonly<Record<string, string | readonly string[] | number | undefined>>;

export const reasonHeader = 'x-ambient-reason';

export interface ConnectHeaders {
  /** `ip:port` or `host:port` of the target. */
  readonly authority: string;
  /** The application's socket. */
  readonly client: IpPort;
  /** Host of the addressed service, if known. */
  readonly serviceHost?: string | undefined;
  /** The calling workload. */
  readonly source: Workload;
  readonly traceparent: string;
}

export function buildConnect(c: ConnectHeaders): Record<string, string> {
  return {
    ':method': 'CONNECT',
    ':authority': c.authority,
    forwarded: printForwarded(c.client, c.serviceHost),
    baggage: printBaggage(c.source),
    traceparent: c.traceparent,
  };
}

/** Headers of an answer that refuses; the policy's name goes only to peers of our own trust domain. */
export function buildRefusal(code: FaultCode, policy: string | undefined): Record<string, string> {
  return { [reasonHeader]: printReason(code, policy) };
}

export function printForwarded(client: IpPort, host: string | undefined): string {
  const node = `for="${printIpPort(client)}"`;
  return host === undefined ? node : `${node};host=${host}`;
}

/** First value of a header as text. */
export function headerText(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  if (typeof value === 'string') return value;
  return Array.isArray(value) && typeof value[0] === 'string' ? value[0] : undefined;
}

/** The `host=` of a Forwarded header: a metrics label, nothing else. */
export function parseForwardedHost(value: string | undefined): string | undefined {
  if (value === undefined || !visibleAscii(value)) return undefined;
  for (const part of value.split(';')) {
    const text = part.trim();
    if (!text.startsWith('host=')) continue;
    let host = text.slice('host='.length);
    if (host.startsWith('"')) host = host.slice(1);
    if (host.endsWith('"')) host = host.slice(0, -1);
    return host === '' || parseAuthority(`${host}:1`) === undefined ? undefined : host;
  }
  return undefined;
}

function visibleAscii(text: string): boolean {
  for (const c of text) if ((c < ' ' && c !== '\t') || c > '~') return false;
  return true;
}

/** `key=value` pairs joined by commas, empty values left out, in Istio's order. */
export function printBaggage(w: Workload): string {
  const pairs: [string, string][] = [
    ['k8s.cluster.name', w.clusterId],
    ['k8s.namespace.name', w.namespace],
    [`k8s.${w.workloadType}.name`, w.workloadName],
    ['service.name', w.canonicalName],
    ['service.version', w.canonicalRevision],
    ['cloud.region', w.locality.region],
    ['cloud.availability_zone', w.locality.zone],
  ];
  return pairs
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** What a peer says about itself. */
export interface Baggage {
  readonly clusterId?: string;
  readonly namespace?: string;
  readonly workloadName?: string;
  readonly canonicalName?: string;
  readonly canonicalRevision?: string;
  readonly region?: string;
  readonly zone?: string;
}

const baggageKeys: ReadonlyMap<string, keyof Baggage> = new Map([
  ['k8s.cluster.name', 'clusterId'],
  ['k8s.namespace.name', 'namespace'],
  ['k8s.deployment.name', 'workloadName'],
  ['k8s.cronjob.name', 'workloadName'],
  ['k8s.pod.name', 'workloadName'],
  ['k8s.job.name', 'workloadName'],
  ['service.name', 'canonicalName'],
  ['service.version', 'canonicalRevision'],
  ['cloud.region', 'region'],
  ['cloud.availability_zone', 'zone'],
]);

/** Later duplicates win, also when empty; unknown keys and broken text are ignored. */
export function parseBaggage(value: string | undefined): Baggage {
  const found: { -readonly [K in keyof Baggage]: string } = {};
  if (value === undefined || value.length > 8192 || !visibleAscii(value)) return found;
  for (const item of value.split(',')) {
    const [key = '', text] = item.trimStart().split('=');
    const field = baggageKeys.get(key);
    if (!field || text === undefined) continue;
    if (text === '') delete found[field];
    else found[field] = text;
  }
  return found;
}
