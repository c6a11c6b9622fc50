// The small HTTP/1.1 server for readiness, metrics, admin and debug. Every listener has limits; the
// `local` guard is for ports that change state or show configuration (checklist K14).
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isLoopback, type Log, parseAuthority, parseIp } from '../base/index.ts';

export interface OpsRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** From this machine and from no page of another site (K14). */
  readonly local: boolean;
  /** At most `maxBodyBytes`; empty for methods without a body. */
  readonly body: string;
}

export interface OpsAnswer {
  readonly status: number;
  readonly type?: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type OpsHandler = (request: OpsRequest) => OpsAnswer | Promise<OpsAnswer>;

export interface OpsOptions {
  readonly host: string;
  readonly port: number;
  /** `GET /path`, or `* /path` for any method. */
  readonly routes: ReadonlyMap<string, OpsHandler>;
  /** Refuse peers that are not on loopback, foreign Host names and cross-site requests. */
  readonly local?: boolean;
  readonly log: Log;
}

export interface OpsServer {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

const maxBodyBytes = 64 * 1024;

function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) resolve(undefined);
      else parts.push(chunk);
    });
    request.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
    request.on('error', reject);
  });
}

/** A page in a browser must not be able to drive an admin port: by DNS rebinding or from another site. */
export function isLocalRequest(
  peer: string | undefined,
  headers: IncomingMessage['headers'],
): boolean {
  const ip = peer === undefined ? undefined : parseIp(peer);
  if (!ip || !isLoopback(ip)) return false;
  const host = headers.host ?? '';
  const name = parseAuthority(host.includes(':') ? host : `${host}:80`);
  if (!name) return false;
  if (name.kind === 'host' && name.host !== 'localhost') return false;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  const origin = headers.origin;
  return origin === undefined || origin === `http://${host}`;
}

function send(response: ServerResponse, answer: OpsAnswer): void {
  response.writeHead(answer.status, {
    'content-type': answer.type ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(answer.body),
    'x-content-type-options': 'nosniff',
    ...answer.headers,
  });
  response.end(answer.body);
}

async function handle(options: OpsOptions, request: IncomingMessage): Promise<OpsAnswer> {
  const local = isLocalRequest(request.socket.remoteAddress, request.headers);
  if (options.local && !local) {
    return { status: 403, body: 'only served to local peers\n' };
  }
  const url = URL.parse(request.url ?? '/', 'http://localhost');
  if (!url) return { status: 400, body: 'bad request target\n' };
  const method = request.method ?? 'GET';
  const route =
    options.routes.get(`${method} ${url.pathname}`) ?? options.routes.get(`* ${url.pathname}`);
  if (!route) {
    const others = [...options.routes.keys()].some((k) => k.endsWith(` ${url.pathname}`));
    return others
      ? { status: 405, body: 'method not allowed\n' }
      : { status: 404, body: 'not found\n' };
  }
  const body = await readBody(request);
  if (body === undefined) return { status: 413, body: 'body too large\n' };
  return route({
    method,
    path: url.pathname,
    query: url.searchParams,
    headers: request.headers,
    local,
    body,
  });
}

/** Binds first: a taken port rejects with an error that names the address (Z13). */
export async function serveOps(options: OpsOptions): Promise<OpsServer> {
  const server = createServer({
    maxHeaderSize: 8192,
    headersTimeout: 2_000,
    requestTimeout: 30_000,
    keepAliveTimeout: 5_000,
  });
  server.maxConnections = 256;
  server.on('request', (request, response) => {
    response.on('error', (error) => options.log.debug('ops response failed', { error }));
    handle(options, request).then(
      (answer) => send(response, answer),
      (error: unknown) => {
        options.log.warn('ops request failed', { path: request.url, error });
        if (!response.headersSent) send(response, { status: 500, body: 'internal error\n' });
        else response.destroy();
      },
    );
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  return { host: options.host, port, stop: () => stop(server) };
}

function listen(server: Server, { host, port }: OpsOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject(
        new Error(`cannot listen on ${host}:${port}: ${error.code ?? error.message}`, {
          cause: error,
        }),
      );
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
      server.on('error', () => {});
      resolve();
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
