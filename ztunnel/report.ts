// One report per connection: opened before anything can go wrong, ended once, and turned into Istio's
// metrics, the access-log line and the evidence record (ztunnel-protocol.md 11.1, 12.2).
import {
  type Clock,
  type IpPort,
  type Log,
  type MeshError,
  PairCache,
  printable,
  printIpPort,
} from '../core/base/index.ts';
import type { PumpCounts } from '../core/hbone/index.ts';
import { type Service, type TcpLabels, tcpLabels, type Workload } from '../core/model/index.ts';
import type { PeerFacts, TlsFacts } from '../certs/index.ts';
import type { ZtunnelMetrics } from './metrics.ts';
import { type ConnectionRecord, type RecordEnd, Ring } from './records.ts';

export interface ReportFacts {
  readonly direction: 'outbound' | 'inbound';
  readonly trace: string;
  /** Uid of the pod this proxy speaks for. */
  readonly pod: string;
  readonly source: IpPort;
  /** Next hop dialled (outbound), tunnel's local address (15008), or original target (15006). */
  readonly destination: IpPort;
  readonly hboneAddr?: string | undefined;
  readonly sourceWorkload?: Workload | undefined;
  readonly sourceIdentity?: string | undefined;
  readonly destinationWorkload?: Workload | undefined;
  readonly destinationIdentity?: string | undefined;
  readonly service?: Service | undefined;
  readonly mutualTls: boolean;
}

/** What the TLS connection under it proved. */
export interface TunnelFacts {
  readonly peer: PeerFacts;
  readonly tls: TlsFacts;
  readonly local: { readonly id: string; readonly serial: string };
}

export interface Outcome {
  readonly error?: MeshError | undefined;
  readonly refusedBy?: 'peer' | 'self';
  readonly status?: number;
}

const ringSize = 1000;

export class Reports {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly metrics: ZtunnelMetrics;
  readonly #ring = new Ring<ConnectionRecord>(ringSize);
  readonly #live = new Set<Report>();
  /** Connections of the same ends count with the same labels object. */
  readonly #labels = new PairCache<TcpLabels>();

  constructor(options: { clock: Clock; log: Log; metrics: ZtunnelMetrics }) {
    this.#clock = options.clock;
    this.#log = options.log.child('access');
    this.metrics = options.metrics;
  }

  /** Counts the connection as opened. */
  open(facts: ReportFacts): Report {
    const report = this.#report(facts, (r) => this.#ended(r));
    this.#live.add(report);
    this.metrics.opened.add(report.labels);
    if ((facts.mutualTls || facts.direction === 'outbound') && this.#log.enabled('debug')) {
      this.#log.debug('connection opened', logFields(facts));
    }
    return report;
  }

  /** Refused before a connection record exists: one warning, one refusal counter, one record. */
  early(facts: ReportFacts, error: MeshError): void {
    const reporter = facts.direction === 'outbound' ? 'source' : 'destination';
    this.metrics.refusals.add({ reporter, reason: error.code });
    this.#log.warn('connection failed', {
      'src.addr': printIpPort(facts.source),
      'dst.addr': printIpPort(facts.destination),
      direction: facts.direction,
      error: printable(error.detail ?? error.code, 300),
      reason: error.code,
    });
    const report = this.#report(facts, () => {});
    report.outcome = { error, refusedBy: 'self' };
    this.#ring.push(toRecord(report, 0, 'refused'));
  }

  /** A handshake refused or a tunnel cut because of the revocation list. */
  crlRejected(reporter: 'source' | 'destination', count = 1): void {
    this.metrics.crlRejections.add({ reporter }, count);
  }

  /** Brings the byte counters of open connections up to date; called at each scrape. */
  flush(): void {
    for (const report of this.#live) this.#flushOne(report);
  }

  get liveCount(): number {
    return this.#live.size;
  }

  live(): ConnectionRecord[] {
    const now = this.#clock.now();
    return [...this.#live].map((r) => toRecord(r, now - r.startedMs, 'live'));
  }

  /** Newest first, at most 1,000. */
  recent(): ConnectionRecord[] {
    return this.#ring.recent();
  }

  byTrace(trace: string): ConnectionRecord[] {
    return [...this.live(), ...this.recent()].filter((r) => r.trace === trace);
  }

  #flushOne(report: Report): void {
    const { nearToFar, farToNear } = report.counts;
    const [received, sent] = report.flushed;
    this.metrics.received.add(report.labels, nearToFar - received);
    this.metrics.sent.add(report.labels, farToNear - sent);
    report.flushed = [nearToFar, farToNear];
  }

  #ended(report: Report): void {
    if (!this.#live.delete(report)) return;
    this.#flushOne(report);
    const { error } = report.outcome;
    const durationMs = this.#clock.now() - report.startedMs;
    const flags = flagOf(report);
    const labels = flags === '-' ? report.labels : this.#labelsOf(report.facts, flags);
    this.metrics.closed.add(labels);
    if (flags !== '-') this.metrics.failed.add(labels);
    const reporter = report.facts.direction === 'outbound' ? 'source' : 'destination';
    if (error) this.metrics.refusals.add({ reporter, reason: error.code });
    this.#ring.push(toRecord(report, durationMs, stateOf(error, report)));
    this.#line(report, durationMs);
  }

  #report(facts: ReportFacts, ended: (report: Report) => void): Report {
    return new Report(facts, this.#labelsOf(facts, '-'), this.#clock.now(), ended);
  }

  #labelsOf(f: ReportFacts, flags: string): TcpLabels {
    const { service: s, mutualTls } = f;
    const reporter = f.direction === 'outbound' ? 'source' : 'destination';
    const text = `${reporter} ${flags} ${mutualTls} ${f.sourceIdentity} ${f.destinationIdentity} ${s?.namespace}/${s?.name}/${s?.hostname}`;
    return this.#labels.get(f.sourceWorkload, f.destinationWorkload, text, () =>
      tcpLabels({
        reporter,
        source: f.sourceWorkload,
        sourcePrincipal: f.sourceIdentity,
        destination: f.destinationWorkload,
        destinationPrincipal: f.destinationIdentity,
        service: s,
        mutualTls,
        flags,
      }),
    );
  }

  #line(report: Report, durationMs: number): void {
    const { error } = report.outcome;
    if (!error && !this.#log.enabled('info')) return;
    const { nearToFar, farToNear } = report.counts;
    const outbound = report.facts.direction === 'outbound';
    const fields = {
      ...logFields(report.facts),
      bytes_sent: outbound ? nearToFar : farToNear,
      bytes_recv: outbound ? farToNear : nearToFar,
      duration: `${Math.round(durationMs)}ms`,
    };
    if (!error) this.#log.info('connection complete', fields);
    else this.#log.error('connection complete', { ...fields, ...errorFields(report) });
  }
}

/** Istio's flag. A peer's refusal is CONNECT at the source, whatever reason the peer gave. */
function flagOf(report: Report): string {
  const { error, refusedBy } = report.outcome;
  if (!error) return '-';
  return refusedBy === 'peer' ? 'CONNECT' : error.row.flag;
}

function stateOf(error: MeshError | undefined, report: Report): ConnectionRecord['state'] {
  if (!error) return 'ok';
  return report.outcome.refusedBy === undefined ? 'failed' : 'refused';
}

export class Report {
  readonly facts: ReportFacts;
  readonly startedMs: number;
  readonly labels: TcpLabels;
  readonly #ended: (report: Report) => void;
  /** Replaced by the pump's own counts when bytes begin to flow. */
  counts: Readonly<PumpCounts> = { nearToFar: 0, farToNear: 0 };
  flushed: readonly [number, number] = [0, 0];
  outcome: Outcome = {};
  tunnel: TunnelFacts | undefined;
  reused: boolean | undefined;

  constructor(
    facts: ReportFacts,
    labels: TcpLabels,
    startedMs: number,
    ended: (report: Report) => void,
  ) {
    this.facts = facts;
    this.labels = labels;
    this.startedMs = startedMs;
    this.#ended = ended;
  }

  /** Once; later calls do nothing. */
  end(outcome: Outcome = {}): void {
    this.outcome = outcome;
    this.#ended(this);
  }
}

function logFields(f: ReportFacts): Record<string, unknown> {
  return {
    'src.addr': printIpPort(f.source),
    'src.workload': f.sourceWorkload?.name,
    'src.namespace': f.sourceWorkload?.namespace,
    'src.identity': f.mutualTls ? f.sourceIdentity : undefined,
    'src.cluster': f.sourceWorkload?.clusterId,
    'dst.addr': printIpPort(f.destination),
    'dst.hbone_addr': f.hboneAddr,
    'dst.service': f.service?.hostname,
    'dst.workload': f.destinationWorkload?.name,
    'dst.namespace': f.destinationWorkload?.namespace,
    'dst.identity': f.mutualTls ? f.destinationIdentity : undefined,
    'dst.cluster': f.destinationWorkload?.clusterId,
    direction: f.direction,
  };
}

const statusText: ReadonlyMap<number, string> = new Map([
  [400, 'Bad Request'],
  [401, 'Unauthorized'],
  [503, 'Service Unavailable'],
]);

/** Istio's own texts where it has one (12.3), our reason code beside them. */
function errorFields(report: Report): Record<string, unknown> {
  const { error, refusedBy, status } = report.outcome;
  if (!error) return {};
  const policy = error.policy;
  let text = error.detail ?? error.code;
  if (refusedBy === 'peer' && status !== undefined) {
    text = `http status: ${status} ${statusText.get(status) ?? ''}`.trimEnd();
  } else if (error.code === 'POLICY_DENIED') {
    text = `connection closed due to policy rejection: explicitly denied by: ${policy ?? 'unknown'}`;
  } else if (error.code === 'POLICY_NOT_ALLOWED') {
    text = 'connection closed due to policy rejection: allow policies exist, but none allowed';
  } else if (error.code === 'POLICY_CHANGED') {
    text = 'connection closed due to policy change';
  }
  return {
    error: printable(text, 400),
    reason: error.code,
    ...(policy !== undefined && { policy }),
  };
}

const endOf = (addr: IpPort, w: Workload | undefined, identity: string | undefined): RecordEnd => ({
  addr: printIpPort(addr),
  ...(w && { workload: w.name, namespace: w.namespace }),
  ...(identity !== undefined && { identity }),
});

function toRecord(
  report: Report,
  durationMs: number,
  state: ConnectionRecord['state'],
): ConnectionRecord {
  const { facts: f, outcome, tunnel } = report;
  const { error } = outcome;
  return {
    trace: f.trace,
    direction: f.direction,
    pod: f.pod,
    protocol: f.mutualTls ? 'HBONE' : 'TCP',
    state,
    startedAt: new Date(report.startedMs).toISOString(),
    durationMs: Math.round(durationMs),
    source: endOf(f.source, f.sourceWorkload, f.sourceIdentity),
    destination: {
      ...endOf(f.destination, f.destinationWorkload, f.destinationIdentity),
      ...(f.hboneAddr !== undefined && { hboneAddr: f.hboneAddr }),
      ...(f.service && { service: f.service.hostname }),
    },
    ...(tunnel && evidence(tunnel)),
    ...(report.reused !== undefined && { reused: report.reused }),
    ...(error && { reason: error.code }),
    ...(error?.policy !== undefined && { policy: error.policy }),
    ...(error?.detail !== undefined && { detail: printable(error.detail, 300) }),
    ...(outcome.refusedBy && { refusedBy: outcome.refusedBy }),
    ...(outcome.status !== undefined && { status: outcome.status }),
    bytesReceived: report.counts.nearToFar,
    bytesSent: report.counts.farToNear,
  };
}

export function evidence({
  peer,
  tls,
  local,
}: TunnelFacts): Pick<ConnectionRecord, 'tls' | 'peer' | 'local'> {
  return {
    tls,
    peer: {
      id: peer.id,
      serial: peer.serial,
      notAfter: new Date(peer.notAfterMs).toISOString(),
      chain: peer.chain,
    },
    local,
  };
}
