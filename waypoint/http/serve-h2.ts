// HTTP/2 with prior knowledge (and so gRPC) on a tunnel stream ↔ Exchange.
import http2, { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { innerConnectionWindow, innerWindow } from '../limits.ts';
import { Cancellation } from '../../core/base/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Downstream, HeaderList, L7Connection, LocalReply, RequestHead } from './exchange.ts';
import { collect, fromHttp2 } from './headers.ts';
import { reply } from './local-reply.ts';
import { serveRequest } from './phases.ts';

const maxHeaders = 100;
/** As HTTP/2 counts it: each field with 32 bytes more. Node tells callers of it and lets them go beyond. */
const maxHeadBytes = 60 * 1024;

function downstream(stream: ServerHttp2Stream): Downstream {
  let requestTrailers: HeaderList = [];
  let trailers: HeaderList = [];
  stream.on('trailers', (fields) => {
    requestTrailers = fromHttp2(fields);
  });
  stream.on('wantTrailers', () => {
    try {
      stream.sendTrailers(collect(trailers));
    } catch {
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  });
  const gone = new Cancellation();
  stream.once('close', () => {
    if (!stream.writableFinished || (stream.rstCode ?? 0) !== 0) {
      gone.abort(new Error('the caller has left'));
    }
  });
  return {
    body: stream,
    trailers: () => requestTrailers,
    respond(head, end) {
      if (stream.destroyed || stream.headersSent) return stream;
      const fields = { ...collect(head.headers), ':status': head.status };
      stream.respond(fields, { endStream: end, waitForTrailers: !end, sendDate: false } as never);
      return stream;
    },
    trail(list) {
      trailers = list;
    },
    inform(head) {
      if (!stream.destroyed && !stream.headersSent) {
        stream.additionalHeaders({ ...collect(head.headers), ':status': head.status });
      }
    },
    switch: () => {
      throw new Error('not an upgrade');
    },
    abort: () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    gone,
  };
}

function readHead(
  headers: http2.IncomingHttpHeaders,
  stream: ServerHttp2Stream,
): { head: RequestHead; fault?: LocalReply } {
  const target = String(headers[':path'] ?? '');
  const cut = target.indexOf('?');
  const method = String(headers[':method'] ?? '');
  const head: RequestHead = {
    method,
    path: cut < 0 ? target : target.slice(0, cut),
    query: cut < 0 ? '' : target.slice(cut),
    authority: String(headers[':authority'] ?? headers.host ?? ''),
    headers: fromHttp2(headers),
    version: '2',
    hasBody: !stream.endAfterHeaders,
    upgrade: undefined,
  };
  const bytes = head.headers.reduce((n, [k, v]) => n + k.length + v.length + 32, target.length);
  if (bytes > maxHeadBytes || head.headers.length > maxHeaders) {
    return { head, fault: reply(431, 'Request Header Fields Too Large', 'DPE', 'http2.too_large') };
  }
  if (method === 'CONNECT') return { head, fault: reply(403, '', 'DPE', 'connect_rejected') };
  if (target === '') return { head, fault: reply(404, '', 'NR', 'missing_path_rejected') };
  return { head };
}

export class Http2 {
  readonly #ctx: WaypointContext;
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor(ctx: WaypointContext) {
    this.#ctx = ctx;
  }

  serve(stream: Duplex, connection: L7Connection): void {
    const session = http2.performServerHandshake(stream, {
      settings: {
        initialWindowSize: innerWindow,
        maxConcurrentStreams: 1024,
        maxHeaderListSize: maxHeadBytes,
        enablePush: false,
      },
      maxSessionMemory: 64,
      maxHeaderListPairs: maxHeaders + 4,
      streamResetBurst: 500,
      streamResetRate: 100,
    });
    this.#sessions.add(session);
    session.on('error', (error) => this.#ctx.log.debug('http2 connection failed', { error }));
    session.on('close', () => {
      this.#sessions.delete(session);
      stream.destroy();
    });
    stream.on('close', () => session.destroy());
    session.setLocalWindowSize(innerConnectionWindow);
    session.on('stream', (s: ServerHttp2Stream, headers) => {
      s.on('error', () => {});
      const { head, fault } = readHead(headers, s);
      void serveRequest(this.#ctx, connection, head, downstream(s), fault);
    });
  }

  /** GOAWAY; running streams may end. */
  drain(): void {
    for (const session of this.#sessions) session.close();
  }

  get open(): number {
    return this.#sessions.size;
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy();
  }
}
