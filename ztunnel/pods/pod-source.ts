// The conversation with the node agent over a unix stream socket: hello, requests answered one by one,
// reconnect with back-off (ztunnel-protocol.md 9.2). What a request means is pod-state.ts.
import net from 'node:net';
import {
  backoffDelay,
  type Clock,
  fromUnknown,
  type Log,
  printable,
  type Random,
  type Timer,
} from '../../core/base/index.ts';
import { decode, encode } from '../../core/rpc/index.ts';
import { FrameReader, frame } from './frames.ts';
import { type PodRequest, readAddresses } from './pod-state.ts';

export interface PodAnswer {
  readonly error?: string;
  /** Close the connection after answering. */
  readonly broken?: boolean;
}

export interface PodSourceOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly connected: () => void;
  readonly disconnected: () => void;
  /** Resolves when the request is carried out: a pod's listeners are bound before its ack. */
  readonly handle: (request: PodRequest) => Promise<PodAnswer>;
}

const backoff = { firstMs: 20, capMs: 15_000, jitter: 0.2 };
const maxErrorText = 500;

export class PodSource {
  readonly #options: PodSourceOptions;
  #socket: net.Socket | undefined;
  #timer: Timer | undefined;
  #attempt = 0;
  #stopped = false;

  constructor(options: PodSourceOptions) {
    this.#options = options;
  }

  start(): void {
    const socket = net.connect(this.#options.path);
    this.#socket = socket;
    let up = false;
    let order = Promise.resolve();
    const reader = new FrameReader();
    socket.on('error', (error) => {
      if (up) this.#options.log.warn('node agent connection failed', { error });
    });
    socket.once('connect', () => {
      up = true;
      this.#attempt = 0;
      this.#options.log.info('connected to the node agent', { socket: this.#options.path });
      this.#options.connected();
      socket.write(frame(encode('istio.workload.zds.ZdsHello', { version: 1 })));
    });
    socket.on('data', (chunk) => {
      const messages = reader.push(chunk as Buffer);
      if (!messages) {
        this.#options.log.warn('message from the node agent is too long', {});
        socket.destroy();
        return;
      }
      for (const bytes of messages) order = order.then(() => this.#answer(socket, bytes));
    });
    socket.once('close', () => {
      if (up) this.#options.disconnected();
      this.#again();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#socket?.destroy();
  }

  #again(): void {
    if (this.#stopped) return;
    const { clock, random, log, path } = this.#options;
    const wait = backoffDelay(backoff, this.#attempt++, random);
    if (this.#attempt === 6) log.warn('the node agent cannot be reached', { socket: path });
    this.#timer = clock.after(wait, () => this.start());
  }

  async #answer(socket: net.Socket, bytes: Uint8Array): Promise<void> {
    if (socket.destroyed) return;
    const answer = await this.#carryOut(bytes);
    if (answer.error !== undefined) {
      this.#options.log.warn('request of the node agent refused', { error: answer.error });
    }
    if (socket.destroyed) return;
    const error = (answer.error ?? '').slice(0, maxErrorText);
    socket.write(frame(encode('istio.workload.zds.WorkloadResponse', { ack: { error } })));
    if (answer.broken) socket.end();
  }

  async #carryOut(bytes: Uint8Array): Promise<PodAnswer> {
    try {
      const request = readRequest(bytes);
      if (typeof request === 'string') return { error: request, broken: true };
      return await this.#options.handle(request);
    } catch (error) {
      return { error: printable(fromUnknown(error).message) };
    }
  }
}

/** A request, or what is wrong with it. */
function readRequest(bytes: Uint8Array): PodRequest | string {
  let message: ReturnType<typeof decode<'istio.workload.zds.WorkloadRequest'>>;
  try {
    message = decode('istio.workload.zds.WorkloadRequest', bytes);
  } catch {
    return 'the request cannot be decoded';
  }
  if (message.add) {
    const info = message.add.workloadInfo;
    const addresses = info && readAddresses(info.addresses);
    if (!info || !addresses) return 'add without usable workload info';
    const { name, namespace, serviceAccount } = info;
    const pod = { uid: message.add.uid, name, namespace, serviceAccount, addresses };
    return { kind: 'add', pod };
  }
  if (message.keep) return { kind: 'keep', uid: message.keep.uid };
  if (message.del) return { kind: 'del', uid: message.del.uid, drainMs: message.del.drainMs };
  if (message.snapshotSent) return { kind: 'snapshot' };
  return 'a request without payload';
}
