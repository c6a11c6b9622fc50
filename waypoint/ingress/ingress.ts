// Callers from outside the mesh in, by plaintext or TLS, on the ports the Gateway asks for; what follows is the same
// as for a tunnel: routes, policies, and out over HBONE under the gateway's own identity.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { acceptEdge } from '../../certs/index.ts';
import {
  fromUnknown,
  type IpPort,
  MeshError,
  newTraceparent,
  parseIp,
  printable,
  traceIdOf,
} from '../../core/base/index.ts';
import { resetStream } from '../../core/hbone/index.ts';
import { bestHost } from '../../core/model/index.ts';
import { listen, type Listener, remoteOf } from '../../core/runtime/index.ts';
import { peek, peekServerName, serverNameMs, unknown } from '../accept/peek.ts';
import type { WaypointContext } from '../context.ts';
import type { L7Connection } from '../http/exchange.ts';
import type { Http1 } from '../http/serve-h1.ts';
import type { Http2 } from '../http/serve-h2.ts';
import type { CompiledPort, CompiledService } from '../l7/compile.ts';
import { type CompiledTcp, tcpByName } from '../l7/tcp-routes.ts';
import { type CompiledBind, type CompiledListener, noRoutes } from '../l7/listeners.ts';
import { carryOpaque, openOpaque } from '../tcp.ts';
import { TunnelSocket } from '../tunnel-socket.ts';

/** How long the first bytes are waited for. */
const firstBytesMs = 60_000;
/** Connections at a time, of all listeners; what comes beyond is reset. */
const maxConnections = 10_000;

interface Own {
  readonly service: CompiledService;
  readonly bind: CompiledBind;
}

export class Ingress {
  readonly #ctx: WaypointContext;
  readonly #http1: Http1;
  readonly #http2: Http2;
  readonly #open = new Map<number, Listener>();
  readonly #sockets = new Set<Socket>();
  readonly #stopWatch: () => void;
  readonly #configured: () => void;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  /** `configured` is called when the ports of the first configuration are bound. */
  constructor(o: { ctx: WaypointContext; http1: Http1; http2: Http2; configured: () => void }) {
    this.#ctx = o.ctx;
    this.#http1 = o.http1;
    this.#http2 = o.http2;
    this.#configured = o.configured;
    const look = (): void => {
      this.#turn = this.#turn.then(() => this.#settle());
    };
    this.#stopWatch = o.ctx.services.onChange(look);
    look();
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** No new connections. */
  close(): void {
    this.#closed = true;
    this.#stopWatch();
    for (const l of this.#open.values()) l.close();
    this.#open.clear();
  }

  destroy(): void {
    this.close();
    for (const s of this.#sockets) s.destroy();
  }

  /** Our own resource: the one with listeners. */
  #service(): CompiledService | undefined {
    for (const s of this.#ctx.services.all()) if (s.binds.length > 0) return s;
    return undefined;
  }

  #own(bindPort: number): Own | undefined {
    const service = this.#service();
    const bind = service?.binds.find((b) => b.bindPort === bindPort);
    return service && bind && { service, bind };
  }

  /** Opens and closes ports as the configuration says. Never rejects. */
  async #settle(): Promise<void> {
    const service = this.#service();
    const wanted = new Set(service?.binds.map((b) => b.bindPort));
    for (const [port, listener] of this.#open) {
      if (wanted.has(port)) continue;
      listener.close();
      this.#open.delete(port);
    }
    const { config, log } = this.#ctx;
    const ip = parseIp(config.hbone.host);
    if (!ip) return;
    let failed = false;
    for (const port of wanted) {
      if (this.#closed || this.#open.has(port)) continue;
      try {
        const listener = await listen({ ip, port }, (socket) => void this.#socket(port, socket), {
          keepalive: config.keepalive,
          halfOpen: true,
        });
        if (this.#closed) listener.close();
        else this.#open.set(port, listener);
      } catch (error) {
        failed = true;
        log.error('cannot open a listener', { port, error });
      }
    }
    if (service && !failed) this.#configured();
  }

  /** From an accepted socket to a served connection. Never rejects. */
  async #socket(bindPort: number, socket: Socket): Promise<void> {
    const client = remoteOf(socket);
    const own = this.#own(bindPort);
    if (!client || !own || this.#sockets.size >= maxConnections) return resetStream(socket);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      if (this.#ctx.headroom.shortage()) throw new MeshError('OVERLOADED');
      await this.#serve(client, own, socket);
    } catch (caught) {
      const { code, message } = fromUnknown(caught, 'INTERNAL');
      resetStream(socket);
      this.#ctx.reports.refusedTunnel(client, '-', `port ${own.bind.port}`, code);
      this.#ctx.log.debug('connection refused', { error: printable(message, 300) });
    }
  }

  async #serve(client: IpPort, { service, bind }: Own, socket: Socket): Promise<void> {
    const { clock } = this.#ctx;
    switch (bind.kind) {
      case 'http': {
        const fresh = (): Own | undefined => this.#own(bind.bindPort);
        const connection = this.#connection(client, socket, 'http', {
          service: () => fresh()?.service ?? service,
          port: () => fresh()?.bind.shared ?? closed(bind.shared),
        });
        return this.#http(socket, client, connection);
      }
      case 'https': {
        const name = await this.#serverName(socket, true);
        const listener = bestHost(bind.listeners, name, (l) => l.hostname);
        const o = { clock, hybridOnly: this.#ctx.config.hybridOnly };
        const secured = await acceptEdge(socket, listener?.certificates ?? [], name, o);
        if (!listener) throw new MeshError('TLS_HANDSHAKE', { detail: 'no listener for the name' });
        const fresh = (): CompiledListener | undefined =>
          this.#own(bind.bindPort)?.bind.listeners.find((l) => l.name === listener.name);
        const connection = this.#connection(client, socket, 'https', {
          service: () => this.#own(bind.bindPort)?.service ?? service,
          port: () => fresh()?.port ?? closed(listener.port),
          serverName: name,
        });
        return this.#http(secured.stream, client, connection);
      }
      case 'tls': {
        const name = await this.#serverName(socket, service.access.bySni);
        const listener = bestHost(bind.listeners, name, (l) => l.hostname);
        const route = tcpByName(listener?.connections ?? [], name);
        const certificates = listener?.certificates ?? [];
        const inside = { service, bind, route, serverName: name };
        if (certificates.length === 0) return this.#opaque(client, socket, inside);
        const o = { clock, hybridOnly: this.#ctx.config.hybridOnly, alpn: [] };
        const { stream } = await acceptEdge(socket, certificates, name, o);
        return this.#opaque(client, socket, inside, stream);
      }
      case 'tcp': {
        const route = tcpByName(
          bind.listeners.flatMap((l) => l.connections),
          '',
        );
        const { bySni } = service.access;
        const serverName = bySni ? await this.#serverName(socket, true) : undefined;
        return this.#opaque(client, socket, { service, bind, route, serverName });
      }
    }
  }

  /** Whom a caller means. What cannot be read is nobody, or where it must be known, no connection. */
  async #serverName(socket: Socket, needed: boolean): Promise<string> {
    const name = await peekServerName(socket, serverNameMs, this.#ctx.clock);
    if (name !== unknown) return name;
    if (needed) throw new MeshError('TLS_HANDSHAKE', { detail: 'no hello that can be read' });
    return '';
  }

  #connection(
    client: IpPort,
    socket: Socket,
    scheme: 'http' | 'https',
    now: {
      readonly service: () => CompiledService;
      readonly port: () => CompiledPort;
      readonly serverName?: string | undefined;
    },
  ): L7Connection {
    const traceparent = newTraceparent(this.#ctx.random);
    const ip = parseIp(socket.localAddress ?? '') ?? client.ip;
    return {
      source: client,
      peer: {},
      edge: { scheme },
      sourceWorkload: undefined,
      target: { ip, port: now.port().port },
      serverName: now.serverName,
      get service() {
        return now.service();
      },
      get port() {
        return now.port();
      },
      traceparent,
      trace: traceIdOf(traceparent) ?? '',
    };
  }

  async #http(under: Duplex, client: IpPort, connection: L7Connection): Promise<void> {
    const { clock, sockets } = this.#ctx;
    const stream = sockets.add(new TunnelSocket(under, client));
    const limit = clock.after(firstBytesMs, () => stream.destroy());
    const found = await peek(stream, 0, clock, false);
    limit.cancel();
    if (found === 'http2') this.#http2.serve(stream, connection);
    else if (found === 'gone') stream.destroy();
    else this.#http1.serve(stream, connection);
  }

  async #opaque(
    client: IpPort,
    socket: Socket,
    o: Own & { readonly route: CompiledTcp | 'none'; readonly serverName: string | undefined },
    near: Duplex = socket,
  ): Promise<void> {
    const connection = this.#connection(client, socket, 'http', {
      service: () => o.service,
      port: () => o.bind.shared,
      serverName: o.serverName,
    });
    const opened = await openOpaque(this.#ctx, connection, o.route);
    if (opened instanceof MeshError) return resetStream(socket);
    await carryOpaque(this.#ctx, connection, near, opened);
  }
}

/** The listener is gone: what still comes over its connections finds no route. */
const closed = (port: CompiledPort): CompiledPort => ({ ...port, routes: noRoutes });
