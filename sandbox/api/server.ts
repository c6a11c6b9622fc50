// The HTTPS server around the API: limits, life, and the hand-over of upgraded connections.
import { createServer } from 'node:https';
import { type AddressInfo, createServer as createDoor, type Socket } from 'node:net';
import type { Log } from '../../core/base/index.ts';
import type { PodRuntime } from '../contract.ts';
import type { SandboxStore } from '../store/index.ts';
import type { ApiContext } from './context.ts';
import { serveRequest } from './dispatch.ts';
import type { ServingCertificate } from './serving-cert.ts';
import type { SandboxTokens } from './tokens.ts';
import { serveUpgrade } from './upgrade.ts';

export interface ApiOptions {
  readonly store: SandboxStore;
  readonly tokens: SandboxTokens;
  readonly runtime: PodRuntime;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 = any free one. */
  readonly port: number;
  /** More listening sockets, made elsewhere (in other network namespaces). */
  readonly extraFds?: readonly number[];
  readonly tls: ServingCertificate;
  readonly log: Log;
  /** Wall time in milliseconds. Default `Date.now`. */
  readonly now?: () => number;
}

export interface RunningApi {
  /** `https://127.0.0.1:6443` */
  readonly url: string;
  readonly port: number;
  /** Ends watches and streams, closes every connection. */
  stop(): Promise<void>;
}

/** Starts serving. Rejects when the address cannot be bound. */
export async function startApi(options: ApiOptions): Promise<RunningApi> {
  const { store, tokens, runtime, log, tls } = options;
  const api: ApiContext = { store, tokens, runtime, log, now: options.now ?? Date.now };
  const server = createServer({
    key: tls.keyPem,
    cert: tls.certPem,
    minVersion: 'TLSv1.2',
    maxHeaderSize: 64 * 1024,
    headersTimeout: 20_000,
    requestTimeout: 60_000,
    keepAliveTimeout: 90_000,
    connectionsCheckingInterval: 10_000,
    handshakeTimeout: 10_000,
  });
  server.maxConnections = 4096;
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', (request, response) => {
    response.on('error', () => {});
    void serveRequest(api, request, response);
  });
  server.on('upgrade', (request, socket, head) => void serveUpgrade(api, request, socket, head));
  server.on('tlsClientError', (error) =>
    log.debug('a TLS handshake failed', { error: error.message }),
  );
  server.on('clientError', (_error, socket) => socket.destroy());

  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, host, resolve);
  });
  server.on('error', (error) => log.error('the API server failed', { error: error.message }));
  const doors = (options.extraFds ?? []).map((fd) => {
    const door = createDoor((socket) => void server.emit('connection', socket));
    door.on('error', (error) => log.error('the API server failed', { error: error.message }));
    return door.listen({ fd });
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    stop: () =>
      new Promise((resolve) => {
        for (const door of doors) door.close();
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
