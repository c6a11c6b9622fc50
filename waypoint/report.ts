// What became of each request and opaque connection: metrics, one access-log line, one record of evidence
// under the trace id of the tunnel it came in on (waypoint-l7.md 9; design.md 8 "Evidence").
import {
  type Clock,
  type FaultCode,
  type IpPort,
  type Log,
  PairCache,
  printable,
  printIpPort,
} from '../core/base/index.ts';
import { tcpLabels, type Workload, workloadSpiffeId } from '../core/model/index.ts';
import type { Exchange, L7Connection } from './http/exchange.ts';
import { headerOf, isGrpc } from './http/exchange.ts';
import type { Mark } from './l7/access.ts';
import { httpLabelNames, opaqueLabelNames, type WaypointMetrics } from './metrics.ts';
import type { MeshView, NamespacedHost, Service, SpiffeId } from '../core/model/index.ts';

const ringSize = 1000;
const longestPath = 300;

/** One request or connection, newest first in `/ambient/connections?recent`. */
export interface WaypointRecord {
  readonly trace: string;
  readonly direction: 'waypoint';
  readonly state: 'ended' | 'refused';
  readonly startedAt: string;
  readonly durationMs: number;
  readonly source: { readonly addr: string; readonly identity: string; readonly workload?: string };
  readonly destination: {
    readonly addr: string;
    readonly service: string;
    readonly identity?: string;
    readonly workload?: string;
  };
  readonly request?: {
    readonly method: string;
    readonly path: string;
    readonly status: number;
    readonly flags: string;
    readonly route: string;
    readonly attempts: number;
  };
  readonly reason?: string;
  readonly policy?: string;
}

export interface OpaqueEnd {
  readonly endpoint: Workload | undefined;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly flags: string;
  readonly reason?: FaultCode | undefined;
  readonly policy?: string | undefined;
  readonly marks: readonly Mark[];
}

const pick = (names: readonly string[], all: Readonly<Record<string, string>>) =>
  Object.fromEntries(names.map((n) => [n, all[n] ?? '']));

export class Reports {
  readonly metrics: WaypointMetrics;
  readonly #clock: Clock;
  readonly #log: Log | undefined;
  readonly #view: () => MeshView;
  readonly #self: () => Workload;
  readonly #identity: SpiffeId;
  /** Facts alone: they are put into words for the few who ask. */
  readonly #ring: (() => WaypointRecord)[] = [];
  /** Requests that are alike count with the same labels object. */
  readonly #httpLabels = new PairCache<Readonly<Record<string, string>>>();

  constructor(o: {
    clock: Clock;
    /** Absent = no access log. */
    log: Log | undefined;
    metrics: WaypointMetrics;
    view: () => MeshView;
    self: () => Workload;
    identity: SpiffeId;
  }) {
    this.#clock = o.clock;
    this.#log = o.log;
    this.metrics = o.metrics;
    this.#view = o.view;
    this.#self = o.self;
    this.#identity = o.identity;
  }

  /** Newest first. */
  recent(): readonly WaypointRecord[] {
    return this.#ring.toReversed().map((told) => told());
  }

  byTrace(trace: string): readonly WaypointRecord[] {
    return this.recent().filter((r) => r.trace === trace);
  }

  refusedTunnel(source: IpPort, identity: string, authority: string, reason: FaultCode): void {
    this.metrics.refusals.add({ reporter: 'waypoint', reason });
    this.#log?.warn('tunnel refused', {
      'src.addr': printIpPort(source),
      'src.identity': identity,
      authority: printable(authority, 200),
      reason,
    });
  }

  #labels(c: L7Connection, service: Service | undefined, endpoint: Workload | undefined) {
    const labels = tcpLabels({
      reporter: 'destination',
      source: c.edge ? this.#self() : c.sourceWorkload,
      sourcePrincipal: c.edge ? this.#identity : c.peer.id,
      destination: endpoint,
      service,
      mutualTls: true,
      flags: '-',
    });
    const known = endpoint !== undefined && endpoint.protocol === 'HBONE';
    // Istio's gateways report as the source they are.
    if (c.edge) return { ...labels, reporter: 'source', connection_security_policy: 'unknown' };
    return {
      ...labels,
      reporter: 'waypoint',
      source_workload_namespace: c.peer.identity?.namespace ?? labels.source_workload_namespace,
      connection_security_policy: known ? 'mutual_tls' : 'none',
    };
  }

  /** The service that was called; none where a workload was called by its own address. */
  #meant(c: L7Connection, backend: NamespacedHost | undefined): Service | undefined {
    if (c.service.workloads) return undefined;
    return this.#view().service(c.edge && backend ? backend : c.service.key);
  }

  #push(record: () => WaypointRecord): void {
    this.#ring.push(record);
    if (this.#ring.length > ringSize) this.#ring.shift();
  }

  #marked(marks: readonly Mark[]): void {
    for (const { policy, as } of marks) this.metrics.marks.add({ policy, as });
  }

  request(x: Exchange): void {
    const { connection: c, outcome: o } = x;
    const durationMs = this.#clock.monotonic() - x.startedMs;
    const service = this.#meant(c, o.backend);
    const protocol = isGrpc(x.head.headers) ? 'grpc' : 'http';
    const place = `${c.edge !== undefined} ${c.peer.id} ${service?.namespace}/${service?.name}/${service?.hostname}`;
    const text = `${protocol} ${o.flags} ${o.status} ${o.grpcStatus} ${place}`;
    const labels = this.#httpLabels.get(
      c.edge ? this.#self() : c.sourceWorkload,
      o.endpoint,
      text,
      () =>
        pick(httpLabelNames, {
          ...this.#labels(c, service, o.endpoint),
          request_protocol: protocol,
          response_flags: o.flags,
          response_code: String(o.status),
          grpc_response_status: o.grpcStatus,
        }),
    );
    this.metrics.requests.add(labels);
    this.metrics.duration.observe(labels, durationMs);
    this.metrics.requestBytes.observe(labels, o.bytesReceived);
    this.metrics.responseBytes.observe(labels, o.bytesSent);
    if (o.reason) this.metrics.refusals.add({ reporter: 'waypoint', reason: o.reason });
    this.#marked(o.marks);
    this.#push(recordOf(x, durationMs, this.#clock.now()));
    if (this.#log?.enabled('info')) this.#log.info('request', logFields(x, durationMs));
  }

  opaque(c: L7Connection, startedMs: number, end: OpaqueEnd): void {
    const service = this.#meant(c, undefined);
    const labels = pick(opaqueLabelNames, {
      ...this.#labels(c, service, end.endpoint),
      response_flags: end.flags,
    });
    this.metrics.opened.add(labels);
    this.metrics.closed.add(labels);
    this.metrics.received.add(labels, end.receivedBytes);
    this.metrics.sent.add(labels, end.sentBytes);
    if (end.reason) this.metrics.refusals.add({ reporter: 'waypoint', reason: end.reason });
    this.#marked(end.marks);
    const durationMs = this.#clock.monotonic() - startedMs;
    const told = base(c, end.endpoint, durationMs, this.#clock.now());
    const { reason, policy } = end;
    this.#push(() => ({
      ...told(),
      state: reason ? 'refused' : 'ended',
      ...(reason && { reason }),
      ...(policy !== undefined && { policy }),
    }));
    this.#log?.info('connection', {
      'src.addr': printIpPort(c.source),
      'src.identity': c.peer.id ?? '-',
      'dst.service': c.service.hostname,
      'dst.addr': printIpPort(c.target),
      'dst.workload': end.endpoint?.name ?? '-',
      bytes_received: end.receivedBytes,
      bytes_sent: end.sentBytes,
      duration: `${Math.round(durationMs)}ms`,
      flags: end.flags,
      ...(end.reason && { reason: end.reason }),
      ...markFields(end.marks),
    });
  }
}

/** Takes what it needs now: a record outlives bodies, connections and configurations. */
function base(c: L7Connection, endpoint: Workload | undefined, durationMs: number, nowMs: number) {
  const { trace, source, target, peer, sourceWorkload } = c;
  const { hostname } = c.service;
  return () => ({
    trace,
    direction: 'waypoint' as const,
    startedAt: new Date(nowMs - durationMs).toISOString(),
    durationMs: Math.round(durationMs),
    source: {
      addr: printIpPort(source),
      identity: peer.id ?? '',
      ...(sourceWorkload && { workload: sourceWorkload.name }),
    },
    destination: {
      addr: printIpPort(target),
      service: hostname,
      ...(endpoint && { identity: workloadSpiffeId(endpoint), workload: endpoint.name }),
    },
  });
}

function recordOf(x: Exchange, durationMs: number, nowMs: number): () => WaypointRecord {
  const { method, path, query } = x.head;
  const { status, flags, route, attempts, reason, policy, endpoint } = x.outcome;
  const told = base(x.connection, endpoint, durationMs, nowMs);
  // A part of a text keeps all of it in memory: what is long is copied now, and is not held beside the copy.
  const long = path.length + query.length > longestPath;
  const kept = long ? printable(path, longestPath) : path;
  return () => ({
    ...told(),
    state: reason === undefined ? 'ended' : 'refused',
    request: {
      method,
      path: long ? kept : printable(kept, longestPath),
      status,
      flags,
      route,
      attempts,
    },
    ...(reason && { reason }),
    ...(policy !== undefined && { policy }),
  });
}

/** Istio's JSON keys (9.2); text that came from a peer is escaped. */
function logFields(x: Exchange, durationMs: number): Record<string, unknown> {
  const { connection: c, outcome: o, head } = x;
  const text = (name: string): string => printable(headerOf(head.headers, name) ?? '-', 200);
  return {
    method: printable(head.method, 32),
    path: printable(`${head.path}${head.query}`, 500),
    protocol: head.version === '2' ? 'HTTP/2' : 'HTTP/1.1',
    response_code: o.status,
    response_flags: o.flags,
    response_code_details: o.details,
    bytes_received: o.bytesReceived,
    bytes_sent: o.bytesSent,
    duration: Math.round(durationMs),
    upstream_service_time: o.upstreamMs === undefined ? '-' : Math.round(o.upstreamMs),
    user_agent: text('user-agent'),
    request_id: text('x-request-id'),
    authority: printable(head.authority, 200),
    upstream_host: o.endpointAddress || '-',
    upstream_cluster: `inbound-vip|${c.target.port}|http|${c.service.hostname}`,
    downstream_local_address: printIpPort(c.target),
    downstream_remote_address: printIpPort(c.source),
    route_name: o.route,
    'src.identity': c.peer.id ?? '-',
    ...(o.attempts > 1 && { attempts: o.attempts }),
    ...(o.policy !== undefined && { policy: o.policy }),
    ...(Object.keys(x.metadata).length > 0 && {
      authorizer: printable(JSON.stringify(x.metadata), 500),
    }),
    ...markFields(o.marks),
  };
}

/** `audit=ns/a,ns/b dry_run_deny=ns/c`: what matched and decided nothing (6.1). */
function markFields(marks: readonly Mark[]): Record<string, string> {
  const out: Record<string, string> = {};
  for (const { policy, as } of marks) {
    const name = as.replaceAll('-', '_');
    out[name] = out[name] === undefined ? policy : `${out[name]},${policy}`;
  }
  return out;
}
