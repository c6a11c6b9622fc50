// The node agent's end of ZDS in the sandbox: ztunnel connects to a unix socket, says hello, is told
// every pod it should serve, and acknowledges each message before the next.
import fs from 'node:fs';
import net from 'node:net';
import type { Clock, Log } from '../../core/base/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import type { Messages } from '../../core/proto/index.ts';
import { FrameReader, frame } from './zds-frames.ts';

export interface ZdsWorkload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly addresses: readonly string[];
}

export interface ZdsServerOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** The pods a ztunnel that connects is told about. */
  snapshot(): readonly ZdsWorkload[];
  /** A ztunnel has been told everything. */
  connected(): void;
}

type Request = Draft<Messages['istio.workload.zds.WorkloadRequest']>;

const ackMs = 5_000;
const mostConnections = 4;

export class ZdsServer {
  readonly #options: ZdsServerOptions;
  readonly #server: net.Server;
  /** Oldest first; adds go to the newest, removals to all. */
  readonly #connections: Connection[] = [];
  readonly #sockets = new Set<net.Socket>();

  constructor(options: ZdsServerOptions) {
    this.#options = options;
    this.#server = net.createServer((socket) => this.#serve(socket));
    this.#server.on('error', (error) => {
      options.log.error('the ZDS socket failed', { error: error.message });
    });
  }

  get isConnected(): boolean {
    return this.#connections.length > 0;
  }

  async start(): Promise<void> {
    const { path } = this.#options;
    fs.rmSync(path, { force: true });
    await new Promise<void>((done, fail) => {
      this.#server.once('error', fail);
      this.#server.listen(path, done);
    });
    fs.chmodSync(path, 0o600);
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((done) => this.#server.close(() => done()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Resolves when ztunnel listens for the pod; rejects with its reason, or if none is there. */
  async add(workload: ZdsWorkload): Promise<void> {
    const newest = this.#connections.at(-1);
    if (!newest) throw new Error('no ztunnel is connected');
    await newest.request({ add: addOf(workload) });
  }

  /** Tells every ztunnel; one that does not answer is no obstacle. */
  async remove(uid: string, drainMs: number): Promise<void> {
    const request: Request = { del: { uid, drainMs } };
    await Promise.allSettled(this.#connections.map((c) => c.request(request)));
  }

  #serve(socket: net.Socket): void {
    socket.on('error', () => {});
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    if (this.#sockets.size > mostConnections) {
      socket.destroy();
      return;
    }
    const { clock, log } = this.#options;
    const connection = new Connection(socket, clock);
    socket.on('close', () => {
      const at = this.#connections.indexOf(connection);
      if (at >= 0) this.#connections.splice(at, 1);
      if (at >= 0) log.info('ztunnel disconnected');
    });
    this.#greet(connection).catch((error: unknown) => {
      log.warn('a ZDS connection ended early', { error: String(error) });
      socket.destroy();
    });
  }

  async #greet(connection: Connection): Promise<void> {
    const { log } = this.#options;
    const hello = decode('istio.workload.zds.ZdsHello', await connection.message());
    this.#connections.push(connection);
    const pods = this.#options.snapshot();
    log.info('ztunnel connected', { version: hello.version, pods: pods.length });
    for (const workload of pods) {
      try {
        await connection.request({ add: addOf(workload) });
      } catch (error) {
        // Refused, not lost: ztunnel tries that pod again by itself.
        if (!connection.isOpen) throw error;
        log.warn('ztunnel refused a pod', { pod: workload.name, error: String(error) });
      }
    }
    await connection.request({ snapshotSent: {} });
    this.#options.connected();
  }
}

const addOf = (w: ZdsWorkload) => ({
  uid: w.uid,
  workloadInfo: {
    name: w.name,
    namespace: w.namespace,
    serviceAccount: w.serviceAccount,
    addresses: w.addresses,
  },
});

/** One message at a time out, its ack back; a late answer ends the connection. */
class Connection {
  readonly #socket: net.Socket;
  readonly #clock: Clock;
  readonly #frames = new FrameReader();
  readonly #inbox: Buffer[] = [];
  #wanted: ((message: Buffer | undefined) => void) | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(socket: net.Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('close', () => this.#wanted?.(undefined));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  request(request: Request): Promise<void> {
    const mine = this.#turn.then(() => this.#exchange(request));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** The next message; rejects when the connection ends or the time is up. */
  message(): Promise<Buffer> {
    const first = this.#inbox.shift();
    if (first) return Promise.resolve(first);
    if (!this.isOpen) return Promise.reject(new Error('ztunnel disconnected'));
    return new Promise((done, fail) => {
      const timer = this.#clock.after(ackMs, () => {
        fail(new Error('ztunnel did not answer in time'));
        this.#socket.destroy();
      });
      this.#wanted = (message) => {
        this.#wanted = undefined;
        timer.cancel();
        if (message) done(message);
        else fail(new Error('ztunnel disconnected'));
      };
    });
  }

  async #exchange(request: Request): Promise<void> {
    if (!this.isOpen) throw new Error('ztunnel disconnected');
    this.#socket.write(frame(encode('istio.workload.zds.WorkloadRequest', request)));
    const answer = decode('istio.workload.zds.WorkloadResponse', await this.message());
    const error = answer.ack?.error ?? '';
    if (error !== '') throw new Error(error);
  }

  #take(chunk: Buffer): void {
    try {
      for (const message of this.#frames.push(chunk)) {
        if (this.#wanted) this.#wanted(message);
        else if (this.#inbox.length < 16) this.#inbox.push(message);
        else throw new Error('messages nobody asked for');
      }
    } catch {
      this.#socket.destroy();
    }
  }
}
