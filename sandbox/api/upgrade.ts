// Upgraded connections: exec, attach and port-forward over SPDY/3.1, WebSocket channels, and SPDY inside
// WebSocket messages (sandbox.md 2d).
import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ServerResponse } from 'node:http';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { statusError } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { callOf, splitUrl, unauthorized } from './dispatch.ts';
import { execAsk, serveExec } from './exec.ts';
import { spdyChannels } from './exec-spdy.ts';
import { channelProtocols, webSocketChannels } from './exec-websocket.ts';
import { forwardedPorts, forwardOverChannels, forwardOverSpdy } from './port-forward.ts';
import { noSuchPath, statusObject, statusOf } from './respond.ts';
import { parseRoute } from './route.ts';
import { callerOf } from './users.ts';

interface Upgrade {
  readonly request: IncomingMessage;
  readonly wire: Duplex;
  readonly head: Buffer;
}

const tunnel = 'SPDY/3.1+portforward.k8s.io';

function listed(header: string | readonly string[] | undefined): string[] {
  const text = typeof header === 'string' ? header : (header ?? []).join(',');
  return text
    .split(',')
    .map((p) => p.trim())
    .filter((p) => p !== '');
}

/** An HTTP answer on a connection that is not upgraded; kubectl shows the Status word for word. */
function refuse(wire: Duplex, error: unknown): void {
  const status = statusOf(error);
  const body = JSON.stringify(statusObject(status));
  const head = [
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? ''}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  wire.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function streamCall(api: ApiContext, request: IncomingMessage): Call {
  const { path, query } = splitUrl(request.url);
  const user = callerOf(api.store, api.tokens, request.headers.authorization);
  if (!user) throw unauthorized();
  const to = parseRoute(path);
  const response = new ServerResponse(request);
  const call =
    to.do === 'resource' ? callOf(api, to, { request, response, query }, user) : undefined;
  const streams =
    call?.key === 'v1/pods' && ['exec', 'attach', 'portforward'].includes(call.sub ?? '');
  if (!call || !streams) throw noSuchPath();
  return call;
}

/** Takes over an upgraded connection; never throws. */
export async function serveUpgrade(
  api: ApiContext,
  request: IncomingMessage,
  wire: Duplex,
  head: Buffer,
): Promise<void> {
  wire.on('error', () => {});
  const upgrade = { request, wire, head };
  try {
    const call = streamCall(api, request);
    const to = (request.headers.upgrade ?? '').toLowerCase();
    if (to === 'spdy/3.1') return await overSpdy(api, call, upgrade);
    if (to === 'websocket') return overWebSocket(api, call, upgrade);
    throw statusError(
      400,
      'BadRequest',
      `cannot upgrade to "${to}": WebSocket and SPDY/3.1 are spoken here`,
    );
  } catch (error) {
    const { code } = statusOf(error);
    if (code === 500) api.log.error('an upgraded request failed', { error });
    refuse(wire, error);
  }
}

function acceptSpdy(upgrade: Upgrade, protocol: string): Duplex {
  const { wire, head } = upgrade;
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'connection: Upgrade',
    'upgrade: SPDY/3.1',
    `x-stream-protocol-version: ${protocol}`,
  ];
  wire.write(`${lines.join('\r\n')}\r\n\r\n`);
  if (head.length > 0) wire.unshift(head);
  return wire;
}

async function overSpdy(api: ApiContext, call: Call, upgrade: Upgrade): Promise<void> {
  const offered = listed(upgrade.request.headers['x-stream-protocol-version']);
  const wanted = call.sub === 'portforward' ? 'portforward.k8s.io' : 'v4.channel.k8s.io';
  if (!offered.includes(wanted)) {
    throw statusError(
      403,
      'Forbidden',
      `the client offers none of the stream protocols spoken here (${wanted})`,
    );
  }
  if (call.sub === 'portforward') {
    forwardedPorts(api, call);
    return forwardOverSpdy(api, call, acceptSpdy(upgrade, wanted));
  }
  const ask = execAsk(api, call);
  const wire = acceptSpdy(upgrade, wanted);
  try {
    await serveExec(api, call, ask, await spdyChannels(wire, ask));
  } catch {
    // Already upgraded: nothing can be said any more.
    wire.destroy();
  }
}

const server = new WebSocketServer({
  noServer: true,
  maxPayload: 4 * 1024 * 1024,
  perMessageDeflate: false,
  handleProtocols: (offered) => channelProtocols.find((p) => offered.has(p)) ?? false,
});

const tunnelServer = new WebSocketServer({
  noServer: true,
  maxPayload: 4 * 1024 * 1024,
  perMessageDeflate: false,
});
// T2: the name has a slash, which ws refuses; it is taken out before and put into the answer here.
tunnelServer.on('headers', (headers) => headers.push(`Sec-WebSocket-Protocol: ${tunnel}`));

function accept(
  acceptor: WebSocketServer,
  upgrade: Upgrade,
  then: (socket: WebSocket) => void,
): void {
  acceptor.handleUpgrade(upgrade.request, upgrade.wire, upgrade.head, then);
}

function overWebSocket(api: ApiContext, call: Call, upgrade: Upgrade): void {
  const { request } = upgrade;
  const offered = listed(request.headers['sec-websocket-protocol']);
  if (call.sub === 'portforward' && offered.includes(tunnel)) {
    forwardedPorts(api, call);
    delete request.headers['sec-websocket-protocol'];
    return accept(tunnelServer, upgrade, (socket) => {
      const wire = createWebSocketStream(socket);
      wire.on('error', () => {});
      forwardOverSpdy(api, call, wire);
    });
  }
  if (!channelProtocols.some((p) => offered.includes(p))) {
    throw statusError(
      400,
      'BadRequest',
      `none of the WebSocket protocols ${channelProtocols.join(', ')} is offered`,
    );
  }
  if (call.sub === 'portforward') {
    const ports = forwardedPorts(api, call);
    if (ports.length === 0)
      throw statusError(400, 'BadRequest', 'query parameter ports is missing');
    return accept(server, upgrade, (socket) => forwardOverChannels(api, call, socket, ports));
  }
  const ask = execAsk(api, call);
  accept(server, upgrade, (socket) => {
    void serveExec(api, call, ask, webSocketChannels(socket, ask));
  });
}
