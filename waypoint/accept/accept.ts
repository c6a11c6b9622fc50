// Tunnels in: TLS with a proven peer, HTTP/2 CONNECT, then the protocol inside by declaration or by the first
// bytes, handed to HTTP or carried as it is.
import type { Socket } from 'node:net';
import type { Acceptors, Secured } from '../../certs/index.ts';
import {
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  printable,
  traceIdOf,
} from '../../core/base/index.ts';
import {
  buildRefusal,
  type HboneServer,
  headerText,
  type Incoming,
  resetStream,
  serveHbone,
} from '../../core/hbone/index.ts';
import { trustDomainOf } from '../../core/model/index.ts';
import { remoteOf } from '../../core/runtime/index.ts';
import type { WaypointContext } from '../context.ts';
import type { L7Connection } from '../http/exchange.ts';
import type { Http1 } from '../http/serve-h1.ts';
import type { Http2 } from '../http/serve-h2.ts';
import { carryOpaque, openOpaque } from '../tcp.ts';
import { TunnelSocket } from '../tunnel-socket.ts';
import { type CompiledTcp, tcpByName } from '../l7/tcp-routes.ts';
import { peek, peekServerName, serverNameMs, unknown } from './peek.ts';
import { tunnelWindow } from '../limits.ts';
import { type AcceptPlan, planAccept } from './plan.ts';

/** How long a tunnel to a service of ours waits for its configuration. */
const configMs = 2_000;

export class Accept {
  readonly #ctx: WaypointContext;
  readonly #acceptors: Acceptors;
  readonly #http1: Http1;
  readonly #http2: Http2;
  readonly #tunnels = new Set<HboneServer>();
  #handshakes = 0;

  constructor(o: { ctx: WaypointContext; acceptors: Acceptors; http1: Http1; http2: Http2 }) {
    this.#ctx = o.ctx;
    this.#acceptors = o.acceptors;
    this.#http1 = o.http1;
    this.#http2 = o.http2;
  }

  get tunnels(): number {
    return this.#tunnels.size;
  }

  /** Sockets that are not tunnels yet. */
  get handshakes(): number {
    return this.#handshakes;
  }

  get streams(): number {
    let n = 0;
    for (const t of this.#tunnels) n += t.active;
    return n;
  }

  drain(): void {
    for (const t of this.#tunnels) t.drain();
  }

  destroy(): void {
    for (const t of this.#tunnels) t.destroy();
  }

  /** From an accepted socket to a served tunnel. Never rejects. */
  async socket(socket: Socket): Promise<void> {
    const client = remoteOf(socket);
    if (!client) return void socket.destroy();
    const { identity, reports, clock, log } = this.#ctx;
    this.#handshakes++;
    try {
      if (this.#ctx.headroom.shortage()) throw new MeshError('OVERLOADED');
      const secured = await this.#acceptors.accept(identity, socket);
      reports.metrics.handshakes.add({ reporter: 'destination' });
      const server = serveHbone(secured.stream, {
        clock,
        log,
        limits: { streamWindow: tunnelWindow },
        onConnect: (incoming) => void this.#request(client, secured, incoming),
      });
      this.#tunnels.add(server);
      void server.closed.then(() => this.#tunnels.delete(server));
      if (this.#ctx.draining()) server.drain();
    } catch (caught) {
      resetStream(socket);
      reports.refusedTunnel(client, '-', '-', fromUnknown(caught, 'TLS_HANDSHAKE').code);
    } finally {
      this.#handshakes--;
    }
  }

  /** One CONNECT. Never rejects. */
  async #request(client: IpPort, secured: Secured, incoming: Incoming): Promise<void> {
    try {
      if (this.#ctx.headroom.shortage()) throw new MeshError('OVERLOADED');
      const plan = await this.#planned(incoming);
      if (plan.do === 'serve') await this.#serve(client, secured, incoming, plan);
      else this.#refuse(client, secured, incoming, faultOf(plan));
    } catch (caught) {
      this.#refuse(client, secured, incoming, fromUnknown(caught, 'INTERNAL'));
    }
  }

  #plan(incoming: Incoming): AcceptPlan {
    const { view, services, config } = this.#ctx;
    return planAccept(view, services, incoming, {
      network: config.network,
      namespace: config.podNamespace,
      gateway: config.gatewayName,
    });
  }

  async #planned(incoming: Incoming): Promise<AcceptPlan> {
    const first = this.#plan(incoming);
    if (first.do !== 'wait') return first;
    const { clock, services } = this.#ctx;
    return new Promise((resolve) => {
      const end = (plan: AcceptPlan): void => {
        timer.cancel();
        stop();
        resolve(plan);
      };
      const timer = clock.after(configMs, () => end(this.#plan(incoming)));
      const stop = services.onChange(() => {
        const plan = this.#plan(incoming);
        if (plan.do !== 'wait') end(plan);
      });
    });
  }

  #refuse(client: IpPort, secured: Secured, incoming: Incoming, error: MeshError): void {
    const near = trustDomainOf(secured.peer.id) === trustDomainOf(secured.local.id);
    incoming.refuse(
      error.row.status || 503,
      buildRefusal(error.code, near ? error.policy : undefined),
    );
    this.#ctx.reports.refusedTunnel(client, secured.peer.id, incoming.authority, error.code);
    this.#ctx.log.debug('tunnel refused', { error: printable(error.message, 300) });
  }

  async #serve(
    client: IpPort,
    secured: Secured,
    incoming: Incoming,
    plan: Extract<AcceptPlan, { do: 'serve' }>,
  ): Promise<void> {
    const { view, config, random, clock, services } = this.#ctx;
    const given = headerText(incoming.headers, 'traceparent');
    const traceparent = given !== undefined && traceIdOf(given) ? given : newTraceparent(random);
    let serverName: string | undefined;
    const connection: L7Connection = {
      source: client,
      peer: { id: secured.peer.id, identity: secured.peer.identity },
      sourceWorkload: view.workloadByAddress(config.network, client.ip),
      target: plan.target,
      get serverName() {
        return serverName;
      },
      // As they are now, for streams that outlive a change; both are read once per request.
      get service() {
        return services.get(plan.service.key) ?? plan.service;
      },
      get port() {
        return this.service.ports.get(plan.port.port) ?? plan.port;
      },
      traceparent,
      trace: traceIdOf(traceparent) ?? '',
    };
    if (plan.port.protocol === 'tcp' && !goesByName(connection)) {
      // The answer waits for the endpoint, so that a failure has its reason.
      const opened = await openOpaque(this.#ctx, connection);
      if (opened instanceof MeshError) return this.#refuse(client, secured, incoming, opened);
      return carryOpaque(this.#ctx, connection, incoming.accept({}), opened);
    }
    const stream = this.#ctx.sockets.add(new TunnelSocket(incoming.accept({}), client));
    const found =
      plan.port.protocol === 'tcp'
        ? 'tcp'
        : await peek(stream, config.detectMs, clock, plan.port.protocol === 'detect');
    if (found === 'http2') this.#http2.serve(stream, connection);
    else if (found === 'http1') this.#http1.serve(stream, connection);
    else if (found === 'gone') stream.destroy();
    else {
      if (goesByName(connection)) {
        const name = await peekServerName(stream, serverNameMs, clock);
        if (name === unknown && mustBeKnown(connection)) {
          this.#ctx.reports.refusedTunnel(
            client,
            secured.peer.id,
            incoming.authority,
            'TLS_HANDSHAKE',
          );
          return void stream.destroy();
        }
        serverName = name === unknown ? '' : name;
      }
      const opened = await openOpaque(this.#ctx, connection, routeOf(connection));
      if (opened instanceof MeshError) return void stream.destroy(opened);
      await carryOpaque(this.#ctx, connection, stream, opened);
    }
  }
}

/** A policy, or a name that is to be resolved, is not gone around by a hello that nobody here can read. */
const mustBeKnown = ({ port, service }: L7Connection): boolean =>
  port.cluster.wildcard !== undefined || service.access.bySni;

/** Whether the server name that a caller sends must be known before its bytes go anywhere. */
const goesByName = (c: L7Connection): boolean => c.port.tls.length > 0 || mustBeKnown(c);

const routeOf = ({ port, serverName = '' }: L7Connection): CompiledTcp | 'none' | undefined =>
  port.tls.length > 0 ? tcpByName(port.tls, serverName) : port.tcp;

function faultOf(plan: Exclude<AcceptPlan, { do: 'serve' }>): MeshError {
  if (plan.do === 'wait') {
    const detail = `no configuration for ${plan.key} yet`;
    return new MeshError('WAYPOINT_NOT_BOUND', { detail });
  }
  return new MeshError(plan.code, { detail: printable(plan.detail, 300) });
}
