// port-forward: over SPDY (plain, or inside WebSocket messages) and over client-node's channels. Each
// forwarded connection is one dial of the runtime.
import { type Duplex, PassThrough } from 'node:stream';
import type { WebSocket } from 'ws';
import { statusError } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { bytesOf, channelSink } from './exec-websocket.ts';
import { podOf } from './logs.ts';
import { statusOf } from './respond.ts';
import { serveSpdy, type SpdyStream } from './spdy.ts';

const dialMs = 10_000;
const maxPorts = 64;

function parsePort(text: string | undefined): number | undefined {
  const port = Number(text);
  return Number.isSafeInteger(port) && port >= 1 && port <= 65535 ? port : undefined;
}

async function dial(api: ApiContext, call: Call, port: number): Promise<Duplex> {
  const { namespace = '', name = '' } = call;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(statusError(504, 'Timeout', 'the dial took too long')), dialMs);
  });
  const dialled = api.runtime.dial(namespace, name, port);
  try {
    return await Promise.race([dialled, late]);
  } catch (error) {
    // A connection that comes too late is nobody's.
    dialled.then((connection) => connection.destroy()).catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Bytes both ways, half-closes included; resolves when both are over. */
function join(client: Duplex, pod: Duplex): Promise<void> {
  return new Promise((resolve) => {
    client.on('error', () => pod.destroy());
    pod.on('error', () => client.destroy());
    client.pipe(pod);
    pod.pipe(client);
    client.once('close', () => pod.destroy());
    pod.once('close', () => {
      if (!client.writableEnded) client.end();
      resolve();
    });
  });
}

function failure(error: unknown, port: number, pod: string): string {
  const why = (error as NodeJS.ErrnoException).code ?? statusOf(error).message;
  return `an error occurred forwarding to port ${port} of pod ${pod}: ${why}`;
}

/** One data stream with its error stream, as kubectl pairs them by `requestid`. */
async function forward(api: ApiContext, call: Call, data: SpdyStream, error: SpdyStream) {
  const port = parsePort(data.headers.get('port'));
  if (port === undefined) {
    error.end('the stream names no port');
    data.end();
    return;
  }
  try {
    await join(data, await dial(api, call, port));
    error.end();
  } catch (cause) {
    error.end(failure(cause, port, call.name ?? ''));
    data.end();
    data.resume();
  }
}

/** Serves SPDY port-forward on `wire` until it closes. */
export function forwardOverSpdy(api: ApiContext, call: Call, wire: Duplex): void {
  const waiting = new Map<string, SpdyStream>();
  serveSpdy(wire, (stream) => {
    const id = stream.headers.get('requestid') ?? stream.headers.get('port') ?? '';
    if (stream.headers.get('streamtype') === 'error') {
      stream.resume();
      waiting.set(id, stream);
      stream.once('close', () => waiting.delete(id));
      return;
    }
    const error = waiting.get(id);
    if (!error) return void stream.destroy();
    waiting.delete(id);
    void forward(api, call, stream, error);
  });
}

/** The ports in the query, checked. Throws 400, and 404 for a pod that is not there. */
export function forwardedPorts(api: ApiContext, call: Call): number[] {
  podOf(api, call);
  const asked = call.query.getAll('ports').flatMap((p) => p.split(','));
  const ports = asked.map(parsePort).filter((p) => p !== undefined);
  if (ports.length !== asked.length || ports.length > maxPorts) {
    throw statusError(400, 'BadRequest', `query parameter ports names 1 to ${maxPorts} ports`);
  }
  return ports;
}

/** client-node: channel 2n carries data, 2n+1 errors; each begins with its port, two bytes. */
export function forwardOverChannels(
  api: ApiContext,
  call: Call,
  socket: WebSocket,
  ports: readonly number[],
): void {
  socket.on('error', () => socket.terminate());
  const inputs = ports.map(() => new PassThrough());
  const rest = new Set(ports.keys());
  socket.on('message', (message: unknown) => {
    const bytes = bytesOf(message);
    const closes = bytes[0] === 255;
    const input = inputs[(closes ? (bytes[1] ?? 1) : (bytes[0] ?? 1)) / 2];
    if (!input?.writable) return;
    if (closes) input.end();
    else if (bytes.length > 1 && !input.write(bytes.subarray(1))) socket.pause();
  });
  for (const [i, port] of ports.entries()) {
    const input = inputs[i];
    if (!input) continue;
    input.on('error', () => {});
    input.on('drain', () => socket.resume());
    socket.once('close', () => input.end());
    void openChannel(api, call, socket, { index: i, port, input }).finally(() => {
      rest.delete(i);
      if (rest.size === 0) socket.close(1000);
    });
  }
}

interface Channel {
  readonly index: number;
  readonly port: number;
  readonly input: PassThrough;
}

async function openChannel(api: ApiContext, call: Call, socket: WebSocket, channel: Channel) {
  const { index, port, input } = channel;
  const output = channelSink(socket, 2 * index);
  const errors = channelSink(socket, 2 * index + 1);
  const head = Buffer.alloc(2);
  head.writeUInt16LE(port);
  output.write(head);
  errors.write(head);
  try {
    const pod = await dial(api, call, port);
    pod.on('error', () => {});
    socket.once('close', () => pod.destroy());
    input.pipe(pod);
    pod.pipe(output);
    await new Promise<void>((resolve) => pod.once('close', resolve));
  } catch (error) {
    errors.write(failure(error, port, call.name ?? ''));
  }
}
