// The tables of `ztunnel-config`, with Istio's columns (control-plane.md 8.3). Pure functions of a dump.
import type { Dump, DumpCertificateItem, DumpConnection } from './dump.ts';

type Table = string[][];

export interface TableFilter {
  readonly address?: string | undefined;
  readonly namespace?: string | undefined;
  readonly node?: string | undefined;
  readonly pod?: { readonly namespace: string; readonly name: string } | undefined;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Name of the service a waypoint reference means; None = unset, NA = not found. */
function waypointName(dump: Dump, destination: string | undefined): string {
  if (!destination) return 'None';
  const hit = dump.services.find(
    (s) =>
      `${s.namespace ?? ''}/${s.hostname ?? ''}` === destination ||
      s.vips?.includes(destination) === true,
  );
  return hit?.name ?? 'NA';
}

export function workloadTable(dump: Dump, f: TableFilter = {}): Table {
  const rows = dump.workloads
    .filter((w) => f.namespace === undefined || w.namespace === f.namespace)
    .filter((w) => f.node === undefined || w.node === f.node)
    .filter((w) => f.address === undefined || (w.workloadIps ?? []).includes(f.address))
    .filter((w) => !f.pod || (w.name === f.pod.name && w.namespace === f.pod.namespace))
    .toSorted(
      (a, b) =>
        compare(`${a.namespace ?? ''}.${a.name ?? ''}`, `${b.namespace ?? ''}.${b.name ?? ''}`) ||
        compare(a.node ?? '', b.node ?? ''),
    )
    .map((w) => [
      w.namespace ?? '',
      w.name ?? '',
      (w.workloadIps ?? []).join(',') || (w.hostname ?? ''),
      w.node ?? '',
      waypointName(dump, w.waypoint?.destination),
      w.protocol ?? '',
    ]);
  return [['NAMESPACE', 'POD NAME', 'ADDRESS', 'NODE', 'WAYPOINT', 'PROTOCOL'], ...rows];
}

export function serviceTable(dump: Dump, f: TableFilter = {}): Table {
  const healthy = new Set(dump.workloads.filter((w) => w.status === 'Healthy').map((w) => w.uid));
  const rows = dump.services
    .filter((s) => f.namespace === undefined || s.namespace === f.namespace)
    .toSorted(
      (a, b) =>
        compare(a.namespace ?? '', b.namespace ?? '') || compare(a.name ?? '', b.name ?? ''),
    )
    .map((s) => {
      const endpoints = Object.values(s.endpoints ?? {});
      const well = endpoints.filter((e) => healthy.has(e.workloadUid)).length;
      const vips = (s.vips ?? []).map((v) => v.slice(v.indexOf('/') + 1)).join(',');
      const waypoint = waypointName(dump, s.waypoint?.destination);
      return [s.namespace ?? '', s.name ?? '', vips, waypoint, `${well}/${endpoints.length}`];
    });
  return [['NAMESPACE', 'SERVICE NAME', 'SERVICE VIP', 'WAYPOINT', 'ENDPOINTS'], ...rows];
}

export function policyTable(dump: Dump, f: TableFilter = {}): Table {
  const rows = dump.policies
    .filter((p) => f.namespace === undefined || p.namespace === f.namespace)
    .toSorted(
      (a, b) =>
        compare(a.namespace ?? '', b.namespace ?? '') || compare(a.name ?? '', b.name ?? ''),
    )
    .map((p) => [p.namespace ?? '', p.name ?? '', p.action ?? '', p.scope ?? '']);
  return [['NAMESPACE', 'POLICY NAME', 'ACTION', 'SCOPE'], ...rows];
}

function certificateRow(
  identity: string,
  type: string,
  state: string,
  c: DumpCertificateItem,
  nowMs: number,
): string[] {
  const from = Date.parse(c.validFrom ?? '');
  const to = Date.parse(c.expirationTime ?? '');
  const serial = /^\d+$/.test(c.serialNumber ?? '')
    ? BigInt(c.serialNumber ?? '0').toString(16)
    : 'NA';
  const valid = from <= nowMs && nowMs <= to;
  return [
    identity,
    type,
    state,
    String(valid),
    serial,
    c.expirationTime ?? 'NA',
    c.validFrom ?? 'NA',
  ];
}

export function certificateTable(dump: Dump, nowMs: number): Table {
  const rows: Table = [];
  for (const c of dump.certificates) {
    const identity = c.identity ?? '';
    const text = c.state ?? '';
    const state = text.includes('Unavailable') ? 'Unavailable' : text;
    const chain = c.certChain ?? [];
    if (chain.length === 0) rows.push([identity, 'NA', state, 'false', 'NA', 'NA', 'NA']);
    for (const [i, item] of chain.entries()) {
      rows.push(certificateRow(identity, i === 0 ? 'Leaf' : 'Intermediate', state, item, nowMs));
    }
    for (const item of c.rootCerts ?? [])
      rows.push(certificateRow(identity, 'Root', state, item, nowMs));
  }
  const head = [
    'CERTIFICATE NAME',
    'TYPE',
    'STATUS',
    'VALID CERT',
    'SERIAL NUMBER',
    'NOT AFTER',
    'NOT BEFORE',
  ];
  return [head, ...rows];
}

/** First address → readable name: a service's host name, or `pod.namespace`. */
function addressNames(dump: Dump): Map<string, string> {
  const names = new Map<string, string>();
  for (const w of dump.workloads) {
    const ip = w.workloadIps?.[0];
    if (ip !== undefined) names.set(ip, `${w.name ?? ''}.${w.namespace ?? ''}`);
  }
  for (const s of dump.services) {
    const vip = s.vips?.[0];
    if (vip !== undefined) names.set(vip.slice(vip.indexOf('/') + 1), s.hostname ?? '');
  }
  return names;
}

export interface ConnectionOptions extends TableFilter {
  readonly direction?: string | undefined;
  readonly raw?: boolean | undefined;
}

export function connectionTable(dump: Dump, o: ConnectionOptions = {}): Table {
  const names = addressNames(dump);
  const show = (at: string | null | undefined): string => {
    if (!at || o.raw === true) return at ?? '';
    const colon = at.lastIndexOf(':');
    const name = names.get(at.slice(0, colon).replace(/^\[|\]$/g, ''));
    return name === undefined ? at : `${name}${at.slice(colon)}`;
  };
  const rows: Table = [];
  const add = (workload: string, direction: string, c: DumpConnection): void => {
    const inbound = direction === 'Inbound';
    const local = show(inbound ? c.actualDst : c.src);
    const remote = show(inbound ? c.src : c.actualDst);
    const target = inbound ? (c.originalDst ?? '') : show(c.originalDst);
    rows.push([workload, direction, local, remote, target, c.protocol ?? '']);
  };
  for (const w of Object.values(dump.workloadState)) {
    const { name = '', namespace = '' } = w.info ?? {};
    if (o.namespace !== undefined && namespace !== o.namespace) continue;
    if (o.pod && (name !== o.pod.name || namespace !== o.pod.namespace)) continue;
    const workload = `${name}.${namespace}`;
    if (o.direction !== 'outbound') {
      for (const c of w.connections?.inbound ?? []) add(workload, 'Inbound', c);
    }
    if (o.direction !== 'inbound') {
      for (const c of w.connections?.outbound ?? []) add(workload, 'Outbound', c);
    }
  }
  const head = ['WORKLOAD', 'DIRECTION', 'LOCAL', 'REMOTE', 'REMOTE TARGET', 'PROTOCOL'];
  return [head, ...rows.toSorted((a, b) => compare(a.join(' '), b.join(' ')))];
}
