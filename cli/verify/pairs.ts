// Records of connections → pairs that have talked, and whether each was mutual TLS. Pure. Both ends of a
// connection carry one trace id; a connection counts once, however many proxies recorded it.
import { parseIpPort } from '../../core/base/index.ts';
import type { Tls } from './verdict.ts';

interface End {
  readonly addr?: string;
  readonly workload?: string;
  readonly namespace?: string;
  readonly identity?: string;
}

/** A record of `/ambient/connections`, as far as it is needed here. */
export interface SeenRecord {
  readonly trace: string;
  readonly direction: string;
  readonly protocol: string;
  readonly state: string;
  readonly startedAt: string;
  readonly source: End;
  readonly destination: End & { readonly hboneAddr?: string };
  readonly tls?: Tls;
  readonly reason?: string;
  readonly policy?: string;
}

export interface Pair {
  readonly source: string;
  readonly destination: string;
  /** `mixed`: some connections were mutual TLS and some were not. */
  readonly verdict: 'mtls' | 'plaintext' | 'mixed' | 'refused';
  readonly connections: number;
  readonly live: number;
  readonly mtls: number;
  readonly plaintext: number;
  readonly refused: number;
  /** Connections that both proxies have recorded. */
  readonly bothEnds: number;
  readonly sourceIdentity?: string;
  readonly destinationIdentity?: string;
  readonly tls?: Tls;
  /** Of the newest refusal. */
  readonly reason?: string;
  readonly policy?: string;
  readonly lastSeen: string;
}

const nameOf = (e: End): string =>
  e.workload === undefined
    ? (parseIpPort(e.addr ?? '')?.ip ?? '?')
    : `${e.workload}.${e.namespace ?? ''}`;

function destinationOf(r: SeenRecord): string {
  const port = parseIpPort(r.destination.hboneAddr ?? r.destination.addr ?? '')?.port;
  return `${nameOf(r.destination)}:${port ?? '?'}`;
}

/** What the records say of one connection; the end where it arrived knows best. */
interface Connection {
  readonly best: SeenRecord;
  readonly ends: ReadonlySet<string>;
  readonly identities: readonly [string | undefined, string | undefined];
  readonly kind: 'mtls' | 'plaintext' | 'refused';
}

function connectionOf(records: readonly SeenRecord[]): Connection | undefined {
  const inbound = records.find((r) => r.direction === 'inbound');
  const best = inbound ?? records[0];
  if (!best) return undefined;
  const first = <T>(read: (r: SeenRecord) => T | undefined): T | undefined =>
    records.map(read).find((x) => x !== undefined);
  const identities = [
    first((r) => r.source.identity),
    first((r) => r.destination.identity),
  ] as const;
  const whole = best.protocol === 'HBONE' && best.tls?.version === 'TLSv1.3';
  const kind = records.some((r) => r.state === 'refused')
    ? 'refused'
    : whole
      ? 'mtls'
      : 'plaintext';
  return { best, ends: new Set(records.map((r) => r.direction)), identities, kind };
}

/** Sources or destinations in `namespace`; absent = everybody. Sorted by source and destination. */
export function pairsOf(records: readonly SeenRecord[], namespace?: string): Pair[] {
  const byTrace = new Map<string, SeenRecord[]>();
  for (const r of records) {
    // Two connections of one trace, before and behind a waypoint, end at different places.
    const key = `${r.trace} ${destinationOf(r)}`;
    byTrace.set(key, [...(byTrace.get(key) ?? []), r]);
  }
  const pairs = new Map<string, Connection[]>();
  for (const same of byTrace.values()) {
    const c = connectionOf(same);
    if (!c) continue;
    const { source, destination } = c.best;
    const here = [source.namespace, destination.namespace].includes(namespace);
    if (namespace !== undefined && !here) continue;
    const key = `${nameOf(source)}\n${destinationOf(c.best)}`;
    pairs.set(key, [...(pairs.get(key) ?? []), c]);
  }
  return [...pairs].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, all]) => toPair(key, all));
}

function toPair(key: string, all: readonly Connection[]): Pair {
  const [source = '', destination = ''] = key.split('\n');
  const count = (kind: Connection['kind']): number => all.filter((c) => c.kind === kind).length;
  const [mtls, plaintext, refused] = [count('mtls'), count('plaintext'), count('refused')];
  const newest = all.toSorted((a, b) => (a.best.startedAt < b.best.startedAt ? 1 : -1));
  const proven = newest.find((c) => c.kind === 'mtls');
  const no = newest.find((c) => c.kind === 'refused')?.best;
  const [sourceIdentity, destinationIdentity] = proven?.identities ?? [];
  const verdict =
    plaintext > 0 ? (mtls > 0 ? 'mixed' : 'plaintext') : mtls > 0 ? 'mtls' : 'refused';
  return {
    source,
    destination,
    verdict,
    connections: all.length,
    live: all.filter((c) => c.best.state === 'live').length,
    mtls,
    plaintext,
    refused,
    bothEnds: all.filter((c) => c.ends.size > 1).length,
    ...(sourceIdentity !== undefined && { sourceIdentity }),
    ...(destinationIdentity !== undefined && { destinationIdentity }),
    ...(proven?.best.tls && { tls: proven.best.tls }),
    ...(no?.reason !== undefined && { reason: no.reason }),
    ...(no?.policy !== undefined && { policy: no.policy }),
    lastSeen: newest[0]?.best.startedAt ?? '',
  };
}

/** 0 all mutual TLS · 4 some were plaintext · 5 none was, and some pair was only refused · 6 nobody has talked. */
export function pairsExit(pairs: readonly Pair[]): number {
  if (pairs.length === 0) return 6;
  if (pairs.some((p) => p.verdict === 'plaintext' || p.verdict === 'mixed')) return 4;
  return pairs.some((p) => p.verdict === 'refused') ? 5 : 0;
}

export const pairRows = (pairs: readonly Pair[]): string[][] => [
  ['SOURCE', 'DESTINATION', 'VERDICT', 'MTLS', 'PLAIN', 'REFUSED', 'LIVE', 'TLS', 'LAST SEEN'],
  ...pairs.map((p) => [
    p.source,
    p.destination,
    p.verdict === 'refused' && p.reason !== undefined ? `refused (${p.reason})` : p.verdict,
    String(p.mtls),
    String(p.plaintext),
    String(p.refused),
    String(p.live),
    p.tls ? `${p.tls.version} ${p.tls.cipher}` : '-',
    p.lastSeen.replace(/\.\d+Z$/, 'Z'),
  ]),
];
