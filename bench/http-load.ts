// Load of HTTP/1.1 over connections of its own: as fast as they answer, or at a fixed rate whose send times are laid
// down up front (performance.md 4.2: latency is counted from the scheduled time).
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** One connection, one request at a time. */
export class HttpConnection {
  readonly #socket: Socket;
  #left = 0;
  #head = '';
  #inBody = false;
  #status = 0;
  #done: ((status: number) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('close', () => this.#fail?.(new Error('the connection was closed under a request')));
  }

  /** The status of the answer; its body has been read. */
  request(bytes: Buffer): Promise<number> {
    return new Promise((done, fail) => {
      this.#done = done;
      this.#fail = fail;
      this.#socket.write(bytes);
    });
  }

  destroy(): void {
    this.#fail = undefined;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let rest = chunk;
    if (!this.#inBody) {
      this.#head += rest.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = this.#head.slice(0, end);
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      if (length === undefined) throw new Error(`an answer without a length: ${head}`);
      this.#status = Number(head.slice(9, 12));
      this.#left = Number(length);
      rest = Buffer.from(this.#head.slice(end + 4), 'latin1');
      this.#head = '';
      this.#inBody = true;
    }
    this.#left -= rest.length;
    if (this.#left > 0) return;
    this.#inBody = false;
    const done = this.#done;
    this.#done = undefined;
    this.#fail = undefined;
    done?.(this.#status);
  }
}

export async function openConnections(
  n: number,
  dial: () => Promise<Socket>,
): Promise<HttpConnection[]> {
  return Promise.all(Array.from({ length: n }, async () => new HttpConnection(await dial())));
}

/** `n` requests, each connection sending its next one once it has its answer; requests a second. */
export async function closedLoop(
  connections: readonly HttpConnection[],
  bytes: Buffer,
  n: number,
): Promise<number> {
  let next = 0;
  const from = performance.now();
  await Promise.all(
    connections.map(async (c) => {
      while (next++ < n) {
        const status = await c.request(bytes);
        // A failed request is not a fast request.
        if (status !== 200) throw new Error(`answered ${status}`);
      }
    }),
  );
  return n / ((performance.now() - from) / 1000);
}

/** `n` requests at `rate` a second over whichever connection is free; milliseconds from the scheduled times, sorted. */
export async function openLoop(
  connections: readonly HttpConnection[],
  bytes: Buffer,
  n: number,
  rate: number,
): Promise<number[]> {
  const free = [...connections];
  const waiting: number[] = [];
  const times: number[] = [];
  const all = Promise.withResolvers<void>();
  const send = (connection: HttpConnection, due: number): void => {
    connection.request(bytes).then((status) => {
      if (status !== 200) return all.reject(new Error(`answered ${status}`));
      times.push(performance.now() - due);
      if (times.length === n) return all.resolve();
      const late = waiting.shift();
      if (late === undefined) free.push(connection);
      else send(connection, late);
    }, all.reject);
  };
  const start = performance.now();
  for (let sent = 0; sent < n; ) {
    const due = start + (sent * 1000) / rate;
    if (performance.now() < due) {
      await pause(1);
      continue;
    }
    const connection = free.pop();
    if (connection) send(connection, due);
    else waiting.push(due);
    sent++;
  }
  await all.promise;
  return times.toSorted((a, b) => a - b);
}

/** Bytes of a request; `body` bytes of it are its body. */
export function requestBytes(
  method: 'GET' | 'POST',
  path: string,
  lines: readonly string[],
): Buffer {
  const body = method === 'POST' ? Buffer.alloc(1024, 'b') : Buffer.alloc(0);
  const length = method === 'POST' ? [`content-length: ${body.length}`] : [];
  const head = [`${method} ${path} HTTP/1.1`, 'host: web', ...length, ...lines, '', ''];
  return Buffer.concat([Buffer.from(head.join('\r\n'), 'latin1'), body]);
}

export async function dialled(socket: Socket): Promise<Socket> {
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}
