// HTTP/1.1 on a tunnel stream ↔ Exchange: a server that never listens is handed the streams. What Node lets
// through and must not pass is refused here (waypoint-l7.md 8.4, 8.9, 12.5).
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { Readable, type Duplex, Writable } from 'node:stream';
import { Cancellation } from '../../core/base/index.ts';
import type { WaypointContext } from '../context.ts';
import type {
  Downstream,
  HeaderList,
  L7Connection,
  LocalReply,
  RequestHead,
  ResponseHead,
} from './exchange.ts';
import { fromRaw } from './headers.ts';
import { reply } from './local-reply.ts';
import { serveRequest } from './phases.ts';

const maxHeaders = 100;
const idleMs = 3_600_000;

function flat(headers: HeaderList): string[] {
  const out: string[] = [];
  for (const [name, value] of headers) out.push(name, value);
  return out;
}

function gone(
  stream: { once(event: 'close', f: () => void): unknown },
  done: () => boolean,
): Cancellation {
  const gone = new Cancellation();
  stream.once('close', () => {
    if (!done()) gone.abort(new Error('the caller has left'));
  });
  return gone;
}

function downstream(ctx: WaypointContext, req: IncomingMessage, res: ServerResponse): Downstream {
  return {
    body: req,
    trailers: () => [],
    respond(head, end) {
      const headers = flat(head.headers);
      if (ctx.draining() || !req.complete) headers.push('connection', 'close');
      res.sendDate = false;
      res.writeHead(head.status, headers);
      if (end) res.end();
      return res;
    },
    trail: () => {},
    inform(head) {
      if (head.status === 100) res.writeContinue();
      else if (head.status === 103 || head.status === 102) res.writeProcessing();
    },
    switch: () => {
      throw new Error('not an upgrade');
    },
    abort: () => void req.socket.destroy(),
    gone: gone(res, () => res.writableFinished),
  };
}

/** An upgrade request: the answer is written by hand, for the stream may go on as something else. */
function rawDownstream(req: IncomingMessage, socket: Duplex): Downstream {
  let answered = false;
  const write = (head: ResponseHead, more: string): void => {
    answered = true;
    const lines = head.headers.map(([n, v]) => `${n}: ${v}\r\n`).join('');
    const phrase = http.STATUS_CODES[head.status] ?? '';
    socket.write(`HTTP/1.1 ${head.status} ${phrase}\r\n${lines}${more}\r\n`, 'latin1');
  };
  return {
    body: Readable.from([]),
    trailers: () => [],
    respond(head, end) {
      const framed = head.headers.filter(([n]) => n !== 'transfer-encoding');
      write({ ...head, headers: framed }, 'connection: close\r\n');
      if (end) socket.end();
      return new Writable({
        write: (chunk: Buffer, _e, done) => void socket.write(chunk, done),
        final: (done) => void socket.end(done),
      });
    },
    trail: () => {},
    inform: () => {},
    switch(head) {
      const protocol = req.headers.upgrade ?? 'websocket';
      write(head, `connection: Upgrade\r\nupgrade: ${protocol}\r\n`);
      return socket;
    },
    abort: () => void socket.destroy(),
    gone: gone(socket, () => answered),
  };
}

interface Read {
  readonly head: RequestHead;
  readonly fault?: LocalReply;
}

const bad = (status: number, details: string, body = ''): LocalReply =>
  reply(status, body, 'DPE', details);

/** The target in origin form; absolute form gives its authority. */
function target(url: string, host: string): { path: string; authority: string } | LocalReply {
  if (url.startsWith('/')) return { path: url, authority: host };
  if (url === '*') return reply(404, '', 'NR', 'absolute_path_rejected');
  const m = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]+)([^#]*)/i.exec(url);
  if (!m) return bad(400, 'http1.invalid_url');
  const scheme = (m[1] ?? '').toLowerCase();
  if (scheme === 'https') return bad(403, 'http1.https_url_on_plaintext_connection');
  if (scheme !== 'http') return bad(400, 'http1.invalid_scheme');
  const rest = m[3] ?? '';
  return { path: rest.startsWith('/') ? rest : `/${rest}`, authority: m[2] ?? '' };
}

/** A tunnel inside the tunnel is not to be had (waypoint-l7.md 8.4, 8.7); a port declared as TCP carries it as bytes. */
function connectFault(coded: boolean, length: string | undefined): LocalReply {
  if (coded) return bad(501, 'http1.invalid_transfer_encoding', 'Not Implemented');
  if (length !== undefined && length !== '0') {
    return bad(400, 'http1.content_length_not_allowed', 'Bad Request');
  }
  return bad(403, 'connect_rejected');
}

function readHead(req: IncomingMessage, upgrade: string | undefined): Read {
  const { headers, hosts } = fromRaw(req.rawHeaders);
  const connects = req.method === 'CONNECT';
  const aim = connects
    ? { path: '', authority: req.url ?? '' }
    : target(req.url ?? '', hosts[0] ?? '');
  const usable = 'path' in aim ? aim : { path: '/', authority: hosts[0] ?? '' };
  const cut = usable.path.indexOf('?');
  const coding = headers.filter(([n]) => n === 'transfer-encoding');
  const length = headers.find(([n]) => n === 'content-length')?.[1];
  const head: RequestHead = {
    method: req.method ?? 'GET',
    path: cut < 0 ? usable.path : usable.path.slice(0, cut),
    query: cut < 0 ? '' : usable.path.slice(cut),
    authority: usable.authority,
    headers,
    version: '1.1',
    hasBody: coding.length > 0 || (length !== undefined && length !== '0'),
    upgrade,
  };
  if (req.httpVersion !== '1.1')
    return { head, fault: bad(426, 'low_version', 'Upgrade Required') };
  if (hosts.length > 1) return { head, fault: bad(400, 'http1.multiple_hosts') };
  if (connects) return { head, fault: connectFault(coding.length > 0, length) };
  if (coding.length > 1 || (coding[0] && coding[0][1].toLowerCase() !== 'chunked')) {
    return { head, fault: bad(501, 'http1.invalid_transfer_encoding', 'Not Implemented') };
  }
  if (!('path' in aim)) return { head, fault: aim };
  return { head };
}

const errorStatus: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
  HPE_INVALID_TRANSFER_ENCODING: [400, 'Bad Request'],
};

/** Streams handed over by `serve`; the connection a request belongs to is found by its stream. */
export class Http1 {
  readonly #ctx: WaypointContext;
  readonly #server: http.Server;
  readonly #connections = new WeakMap<Duplex, L7Connection>();
  /** Streams and how many requests run on each. */
  readonly #open = new Map<Duplex, number>();

  constructor(ctx: WaypointContext) {
    this.#ctx = ctx;
    this.#server = http.createServer({
      maxHeaderSize: 60 * 1024,
      headersTimeout: 60_000,
      requestTimeout: 0,
      keepAliveTimeout: idleMs,
      joinDuplicateHeaders: false,
      shouldUpgradeCallback: (req) => wantsUpgrade(req),
    });
    this.#server.maxHeadersCount = maxHeaders;
    // Node watches the time of requests only on servers that listen; this one is handed its connections.
    this.#server.emit('listening');
    const plain = (req: IncomingMessage, res: ServerResponse): void => this.#request(req, res);
    this.#server.on('request', plain);
    this.#server.on('checkContinue', plain);
    this.#server.on('checkExpectation', plain);
    this.#server.on('upgrade', (req: IncomingMessage, socket: Duplex, first: Buffer) => {
      if (first.length > 0) socket.unshift(first);
      this.#raw(req, socket, 'websocket');
    });
    // What came behind a CONNECT is dropped with the connection.
    this.#server.on('connect', (req: IncomingMessage, socket: Duplex) => {
      this.#raw(req, socket, undefined);
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      if (!socket.writable) return void socket.destroy();
      const [status, phrase] = errorStatus[error.code ?? ''] ?? [400, 'Bad Request'];
      socket.end(
        `HTTP/1.1 ${status} ${phrase}\r\ncontent-length: ${phrase.length}\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n${phrase}`,
      );
    });
  }

  serve(stream: Duplex, connection: L7Connection): void {
    this.#connections.set(stream, connection);
    this.#open.set(stream, 0);
    stream.once('close', () => this.#open.delete(stream));
    this.#server.emit('connection', stream);
    // It was paused while its first bytes were looked at.
    stream.resume();
  }

  /** Connections that rest end in order; others say `connection: close` with their answer. */
  closeIdle(): void {
    for (const [stream, running] of this.#open) if (running === 0) stream.end();
  }

  destroy(): void {
    for (const stream of this.#open.keys()) stream.destroy();
    this.#server.close();
  }

  #running(stream: Duplex, change: number): void {
    const before = this.#open.get(stream);
    if (before !== undefined) this.#open.set(stream, before + change);
  }

  #request(req: IncomingMessage, res: ServerResponse): void {
    const connection = this.#connections.get(req.socket);
    if (!connection) return void req.socket.destroy();
    this.#running(req.socket, 1);
    res.once('close', () => this.#running(req.socket, -1));
    res.on('error', () => {});
    req.on('error', () => {});
    const asked = req.headers.upgrade?.toLowerCase();
    const tokens = (req.headers.connection ?? '').toLowerCase().split(',');
    const other = tokens.some((t) => t.trim() === 'upgrade') && asked !== 'h2c' ? asked : undefined;
    const { head, fault } = readHead(req, other);
    if (fault) res.shouldKeepAlive = false;
    const down = downstream(this.#ctx, req, res);
    void serveRequest(this.#ctx, connection, head, down, fault);
  }

  /** An upgrade, or a CONNECT: Node has let go of the connection. */
  #raw(req: IncomingMessage, socket: Duplex, upgrade: string | undefined): void {
    const connection = this.#connections.get(socket);
    if (!connection) return void socket.destroy();
    this.#running(socket, 1);
    const { head, fault } = readHead(req, upgrade);
    const down = rawDownstream(req, socket);
    void serveRequest(this.#ctx, connection, { ...head, hasBody: false }, down, fault);
  }
}

function wantsUpgrade(req: IncomingMessage): boolean {
  return (req.headers.upgrade ?? '').toLowerCase() === 'websocket';
}
