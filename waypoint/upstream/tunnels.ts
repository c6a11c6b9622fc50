// The way to an endpoint: an HBONE stream to its node proxy that must prove the endpoint's exact identity, or
// plain TCP where the endpoint has no tunnel.
import type { Duplex } from 'node:stream';
import {
  type CertSource,
  connectTls,
  type PeerFacts,
  type TlsFacts,
  type TlsOptions,
} from '../../certs/index.ts';
import {
  type Clock,
  fromUnknown,
  type IpAddress,
  type IpPort,
  isIpv6,
  type Log,
  MeshError,
  parseIp,
  parseReason,
  printIpPort,
} from '../../core/base/index.ts';
import { buildConnect, type Dialled, openHbone, Pool } from '../../core/hbone/index.ts';
import {
  type SpiffeId,
  type Workload,
  type WorkloadUid,
  workloadSpiffeId,
} from '../../core/model/index.ts';
import { dial, type Keepalive } from '../../core/runtime/index.ts';
import type { WaypointConfig } from '../config.ts';
import type { Names } from './names.ts';
import { resolveHost } from './outside.ts';
import { tunnelWindow } from '../limits.ts';

const hbonePort = 15008;
/** From the wish to an open stream: dial, handshake and the answer to CONNECT together (waypoint-l7.md 1.5). */
const connectLimitMs = 10_000;

/** Everything about how to reach a next hop; the pool's key is all of it. */
export interface Peer {
  readonly expect: SpiffeId;
  readonly dial: IpPort;
  readonly uid: WorkloadUid;
}

export interface TunnelFacts {
  readonly peer: PeerFacts;
  readonly tls: TlsFacts;
  readonly local: { readonly id: string; readonly serial: string };
}

export interface TunnelDeps {
  readonly config: WaypointConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly certs: CertSource;
  readonly tls: TlsOptions;
  readonly identity: SpiffeId;
  readonly self: () => Workload;
  readonly onHandshake: () => void;
  readonly names: Names;
}

export interface Endpoint {
  readonly workload: Workload;
  readonly address: IpAddress;
  readonly port: number;
  /** Dialled by this name, resolved then; `address` is what the caller asked for. */
  readonly host?: string;
  /** The caller has chosen that name: only some addresses may be dialled. */
  readonly chosen?: boolean;
  /** The workload is a waypoint, reached here; `address` and `port` are what is asked of it. */
  readonly via?: IpPort;
}

export interface Call {
  readonly endpoint: Endpoint;
  /** Who asked, for the `forwarded` header. */
  readonly client: IpPort;
  readonly serviceHost: string;
  readonly traceparent: string;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** Of a plain connection; absent = as configured. */
  readonly keepalive?: Keepalive | undefined;
  /** A tunnel of its own, for proofs. */
  readonly fresh?: boolean;
}

export interface Opened {
  readonly stream: Duplex;
  /** Absent = plain TCP. */
  readonly facts?: TunnelFacts;
}

export class Tunnels {
  readonly #d: TunnelDeps;
  readonly pool: Pool<Peer, TunnelFacts>;
  readonly #from: IpAddress | undefined;

  constructor(deps: TunnelDeps) {
    this.#d = deps;
    this.#from = parseIp(deps.config.podIp);
    this.pool = new Pool<Peer, TunnelFacts>({
      clock: deps.clock,
      keyOf: (p) => JSON.stringify([p.expect, printIpPort(p.dial), p.uid]),
      dial: (p) => this.#dialTunnel(p),
    });
  }

  /** Rejects with a MeshError that says which step failed; HBONE_TIMEOUT or DIAL_TIMEOUT when it took too long. */
  async open(call: Call): Promise<Opened> {
    const { workload, via } = call.endpoint;
    const tunnelled = via !== undefined || workload.protocol === 'HBONE';
    const ms = call.connectTimeoutMs || connectLimitMs;
    const limit = new AbortController();
    const timer = this.#d.clock.after(ms, () => {
      const detail = `no stream to the endpoint within ${ms} ms`;
      limit.abort(new MeshError(tunnelled ? 'HBONE_TIMEOUT' : 'DIAL_TIMEOUT', { detail }));
    });
    try {
      const { signal } = limit;
      return await (tunnelled ? this.#tunnel(call, signal) : this.#plain(call, signal));
    } finally {
      timer.cancel();
    }
  }

  async #plain({ endpoint, keepalive }: Call, signal: AbortSignal): Promise<Opened> {
    const { host, address, port } = endpoint;
    if (host !== undefined && endpoint.chosen) {
      return { stream: await this.#dialName(host, port, signal, keepalive) };
    }
    const ip = host === undefined ? address : await resolveHost(host);
    return { stream: await this.#dialPlain({ ip, port }, signal, keepalive) };
  }

  async #dialName(host: string, port: number, signal: AbortSignal, keepalive?: Keepalive) {
    const { names, self } = this.#d;
    const [own] = self().addresses;
    const all = await names.resolve(host, own !== undefined && isIpv6(own));
    for (const [i, ip] of all.entries()) {
      try {
        return await this.#dialPlain({ ip, port }, signal, keepalive);
      } catch (error) {
        if (i === all.length - 1 || signal.aborted) throw error;
      }
    }
    throw new MeshError('DIAL_REFUSED', { detail: host });
  }

  async #tunnel(call: Call, signal: AbortSignal): Promise<Opened> {
    const { endpoint } = call;
    const headers = buildConnect({
      authority: printIpPort({ ip: endpoint.address, port: endpoint.port }),
      client: call.client,
      serviceHost: call.serviceHost,
      source: this.#d.self(),
      traceparent: call.traceparent,
    });
    const peer = this.#peerOf(endpoint);
    const given = call.fresh
      ? await this.#once(peer, headers, signal)
      : await this.pool.connect(peer, headers, signal);
    if (given.answer.kind === 'open') return { stream: given.answer.stream, facts: given.facts };
    const reason = parseReason(given.answer.reason);
    throw new MeshError(reason?.code ?? 'PEER_REFUSED', {
      detail: `http status: ${given.answer.status}`,
      ...(reason?.policy !== undefined && { policy: reason.policy }),
    });
  }

  /** A tunnel of its own, that takes nothing after the answer. */
  async #once(peer: Peer, headers: Record<string, string>, signal: AbortSignal) {
    const { client, facts } = await this.#dialTunnel(peer);
    try {
      const answer = await client.connect(headers, signal);
      if (answer.kind === 'unprocessed') throw new MeshError('H2_FAILED');
      return { answer, facts };
    } finally {
      client.close();
    }
  }

  #peerOf({ workload, address, via }: Endpoint): Peer {
    return {
      expect: workloadSpiffeId(workload),
      dial: via ?? { ip: address, port: hbonePort },
      uid: workload.uid,
    };
  }

  #dialPlain(to: IpPort, signal?: AbortSignal, own?: Keepalive) {
    const { clock, config } = this.#d;
    const options = { clock, keepalive: own ?? config.keepalive, from: this.#from };
    return dial(to, signal ? { ...options, signal } : options);
  }

  async #dialTunnel(peer: Peer): Promise<Dialled<TunnelFacts>> {
    const { clock, config, log, certs, identity, tls } = this.#d;
    const cert = await certs.get(identity);
    const socket = await dial(peer.dial, {
      clock,
      keepalive: config.keepalive,
      from: this.#from,
      halfOpen: false,
    }).catch((error: unknown) => {
      const fault = fromUnknown(error, 'DIAL_REFUSED');
      throw fault.code === 'DIAL_TIMEOUT'
        ? new MeshError('HBONE_TIMEOUT', { cause: error })
        : fault;
    });
    const secured = await connectTls(socket, cert, [peer.expect], tls);
    this.#d.onHandshake();
    const client = openHbone(secured.stream, {
      clock,
      log,
      limits: { streamWindow: tunnelWindow },
    });
    const { peer: proven, tls: facts, local } = secured;
    return { client, facts: { peer: proven, tls: facts, local } };
  }
}
