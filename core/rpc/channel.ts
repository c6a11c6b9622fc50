// The calling side of gRPC: a TLS channel whose root and token are read anew when they are needed.
import grpc from '@grpc/grpc-js';
import type { Draft } from './codecs.ts';
import {
  type BidiMethod,
  methods,
  type RequestOf,
  type ReceivedOf,
  serializers,
  type UnaryMethod,
} from './methods.ts';

export interface ChannelOptions {
  /** `host:port`; only TLS is spoken. */
  readonly address: string;
  /** PEM bundle that the server must lead to; read for each new channel. */
  readonly roots: () => string;
  /** Name the server's certificate must have; the address's host by default. */
  readonly serverName?: string | undefined;
  /** Bearer token, read for each call; `undefined` = none. */
  readonly token: () => string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** A call's end with a gRPC status other than OK. `code` is the gRPC number. */
export class RpcError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.name = 'RpcError';
    this.code = code;
  }
}

export interface BidiCall<M extends BidiMethod> {
  send(message: Draft<RequestOf<M>>): void;
  cancel(): void;
}

export interface BidiHandlers<M extends BidiMethod> {
  message(message: ReceivedOf<M>): void;
  /** Once, at the end: `undefined` = OK. */
  end(error: RpcError | undefined): void;
}

export interface RpcChannel {
  unary<M extends UnaryMethod>(
    method: M,
    request: Draft<RequestOf<M>>,
    timeoutMs: number,
  ): Promise<ReceivedOf<M>>;
  bidi<M extends BidiMethod>(method: M, handlers: BidiHandlers<M>): BidiCall<M>;
  close(): void;
}

const maxMessageBytes = 200 * 1024 * 1024;

function metadata(options: ChannelOptions): grpc.Metadata {
  const m = new grpc.Metadata();
  for (const [k, v] of Object.entries(options.headers)) m.set(k, v);
  const token = options.token();
  if (token !== undefined) m.set('authorization', `Bearer ${token.trim()}`);
  return m;
}

function toError(error: unknown): RpcError {
  const e = error as { code?: number; details?: string; message?: string };
  return new RpcError(e.code ?? grpc.status.UNKNOWN, e.details ?? e.message ?? 'unknown error');
}

/** Throws if the roots cannot be read. Connecting starts with the first call. */
export function openChannel(options: ChannelOptions): RpcChannel {
  const credentials = grpc.credentials.createSsl(Buffer.from(options.roots()));
  const client = new grpc.Client(options.address, credentials, {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
    'grpc.use_local_subchannel_pool': 1,
    ...(options.serverName !== undefined && {
      'grpc.ssl_target_name_override': options.serverName,
      'grpc.default_authority': options.serverName,
    }),
  });
  return {
    unary(method, request, timeoutMs) {
      const s = serializers(method);
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          methods[method].path,
          s.writeRequest,
          s.readResponse,
          request,
          metadata(options),
          { deadline: Date.now() + timeoutMs },
          (error, response) => {
            if (error) reject(toError(error));
            else if (response === undefined)
              reject(new RpcError(grpc.status.INTERNAL, 'empty answer'));
            else resolve(response);
          },
        );
      });
    },
    bidi(method, handlers) {
      const s = serializers(method);
      const call = client.makeBidiStreamRequest(
        methods[method].path,
        s.writeRequest,
        s.readResponse,
        metadata(options),
      );
      let ended = false;
      const end = (error: RpcError | undefined): void => {
        if (ended) return;
        ended = true;
        handlers.end(error);
      };
      call.on('data', (m) => handlers.message(m));
      call.on('error', (error) => end(toError(error)));
      call.on('status', (status) => {
        if (status.code === grpc.status.OK) end(undefined);
      });
      return { send: (m) => void (ended || call.write(m)), cancel: () => call.cancel() };
    },
    close: () => client.close(),
  };
}
