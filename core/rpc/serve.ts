// The serving side of gRPC: TLS material that can be replaced while running, limits before any check.
import grpc from '@grpc/grpc-js';
import type { Log } from '../base/index.ts';
import { RpcError } from './channel.ts';
import type { Draft } from './codecs.ts';
import {
  type BidiMethod,
  methods,
  type RequestOf,
  type ResponseOf,
  serializers,
  type UnaryMethod,
} from './methods.ts';

/** Who calls: nothing here is checked yet but the TLS of the connection itself. */
export interface Caller {
  readonly peer: string;
  /** Value of a request header, if it was sent exactly once. */
  header(name: string): string | undefined;
}

/** gRPC status codes the mesh answers with. */
export const rpcStatus = {
  invalidArgument: 3,
  permissionDenied: 7,
  resourceExhausted: 8,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export interface ServerStream<M extends BidiMethod> {
  /** False = the peer is slow: wait for `drained` before more. */
  send(message: Draft<ResponseOf<M>>): boolean;
  end(error?: RpcError): void;
}

export interface StreamHandlers<M extends BidiMethod> {
  message(message: RequestOf<M>): void;
  drained(): void;
  /** The peer is gone or the stream has ended; called once. */
  closed(): void;
}

export interface RpcHandlers {
  readonly unary: {
    readonly [M in UnaryMethod]?: (
      request: RequestOf<M>,
      caller: Caller,
    ) => Promise<Draft<ResponseOf<M>>>;
  };
  readonly bidi: {
    readonly [M in BidiMethod]?: (stream: ServerStream<M>, caller: Caller) => StreamHandlers<M>;
  };
}

export interface ServerMaterial {
  readonly certChainPem: string;
  readonly keyPem: string;
}

export interface RpcServer {
  readonly port: number;
  /** New handshakes use it at once; running connections are left alone. */
  replaceMaterial(material: ServerMaterial): void;
  stop(graceMs: number): Promise<void>;
}

type Listener = (update: { certificate: Buffer; privateKey: Buffer } | null) => void;

/** The certificate provider interface of grpc-js, over a value that can be replaced. */
class Provider {
  #current: ServerMaterial;
  readonly #listeners = new Set<Listener>();
  constructor(material: ServerMaterial) {
    this.#current = material;
  }
  replace(material: ServerMaterial): void {
    this.#current = material;
    for (const l of this.#listeners) this.#tell(l);
  }
  #tell(listener: Listener): void {
    listener({
      certificate: Buffer.from(this.#current.certChainPem),
      privateKey: Buffer.from(this.#current.keyPem),
    });
  }
  addIdentityCertificateListener(listener: Listener): void {
    this.#listeners.add(listener);
    // Not at once: grpc-js asks before it has set up who is to hear the answer, and would drop every
    // connection for want of credentials.
    queueMicrotask(() => this.#tell(listener));
  }
  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener);
  }
  addCaCertificateListener(): void {}
  removeCaCertificateListener(): void {}
}

function callerOf(peer: string, metadata: grpc.Metadata): Caller {
  return {
    peer,
    header(name) {
      const values = metadata.get(name);
      return values.length === 1 && typeof values[0] === 'string' ? values[0] : undefined;
    },
  };
}

function toStatus(error: unknown): { code: number; details: string } {
  if (error instanceof RpcError) return { code: error.code, details: error.message };
  return { code: rpcStatus.internal, details: 'internal error' };
}

function addUnary<M extends UnaryMethod>(
  server: grpc.Server,
  name: M,
  handler: (request: RequestOf<M>, caller: Caller) => Promise<Draft<ResponseOf<M>>>,
  log: Log,
): void {
  const s = serializers(name);
  const run: grpc.handleUnaryCall<RequestOf<M>, Draft<ResponseOf<M>>> = (call, done) => {
    handler(call.request, callerOf(call.getPeer(), call.metadata)).then(
      (response) => done(null, response),
      (error: unknown) => {
        if (!(error instanceof RpcError)) log.error('rpc failed', { method: name, error });
        done(toStatus(error));
      },
    );
  };
  server.register(methods[name].path, run, s.writeResponse, s.readRequest, 'unary');
}

function addBidi<M extends BidiMethod>(
  server: grpc.Server,
  name: M,
  handler: (stream: ServerStream<M>, caller: Caller) => StreamHandlers<M>,
): void {
  const s = serializers(name);
  const run: grpc.handleBidiStreamingCall<RequestOf<M>, Draft<ResponseOf<M>>> = (call) => {
    let over = false;
    const stream: ServerStream<M> = {
      send: (m) => over || call.write(m),
      end: (error) => {
        if (over) return;
        if (error) call.emit('error', toStatus(error));
        else call.end();
      },
    };
    const handlers = handler(stream, callerOf(call.getPeer(), call.metadata));
    const close = (): void => {
      if (over) return;
      over = true;
      handlers.closed();
    };
    call.on('data', (m: RequestOf<M>) => handlers.message(m));
    call.on('drain', () => handlers.drained());
    call.on('end', () => {
      call.end();
      close();
    });
    call.on('cancelled', close);
    call.on('close', close);
    call.on('error', close);
  };
  server.register(methods[name].path, run, s.writeResponse, s.readRequest, 'bidi');
}

function credentials(provider: Provider): grpc.ServerCredentials {
  // grpc-js names these parameters the other way round in its types than in its code (identity first).
  const create = grpc.experimental.createCertificateProviderServerCredentials as unknown as (
    identity: Provider,
    ca: null,
    requireClientCertificate: boolean,
  ) => grpc.ServerCredentials;
  return create(provider, null, false);
}

export async function serveRpc(options: {
  readonly host: string;
  readonly port: number;
  /** Absent = plaintext: only behind something that brings TLS. */
  readonly material?: ServerMaterial;
  readonly handlers: RpcHandlers;
  /** Largest request, before authentication too (K5). Default 4 MiB. */
  readonly maxRequestBytes?: number;
  readonly log: Log;
}): Promise<RpcServer> {
  const server = new grpc.Server({
    'grpc.max_receive_message_length': options.maxRequestBytes ?? 4 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.max_connection_age_ms': 30 * 60_000,
    'grpc.max_connection_age_grace_ms': 10_000,
    'grpc-node.max_session_memory': 64,
  });
  const { unary, bidi } = options.handlers;
  if (unary.createCertificate)
    addUnary(server, 'createCertificate', unary.createCertificate, options.log);
  if (bidi.deltaAggregatedResources) {
    addBidi(server, 'deltaAggregatedResources', bidi.deltaAggregatedResources);
  }
  if (unary.shouldRateLimit)
    addUnary(server, 'shouldRateLimit', unary.shouldRateLimit, options.log);
  const provider = options.material && new Provider(options.material);
  const how = provider ? credentials(provider) : grpc.ServerCredentials.createInsecure();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${options.host}:${options.port}`, how, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    port,
    replaceMaterial: (material) => provider?.replace(material),
    stop: (graceMs) =>
      new Promise((resolve) => {
        const force = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}
