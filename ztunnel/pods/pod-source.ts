// The conversation with the node agent over a unix socket: hello, requests answered one by one,
// reconnect with back-off (ztunnel-protocol.md 9.2). What a request means is pod-state.ts.
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
import { closeFd } from '../../core/linux/index.ts';
import type { Link, OpenLink } from '../../core/zds/index.ts';
import { PodNamespace } from '../sockets.ts';
import { type PodRequest, readAddresses } from './pod-state.ts';

export interface PodAnswer {
  readonly error?: string;
  /** Close the connection after answering. */
  readonly broken?: boolean;
  /** The agent broke the rules of the conversation. */
  readonly fatal?: boolean;
}

export interface PodSourceOptions {
  readonly path: string;
  readonly open: OpenLink;
  /** An `add` brings the pod's namespace with it. */
  readonly namespaces: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly connected: () => void;
  readonly disconnected: () => void;
  /** After a fatal answer is sent; absent = the connection is closed. */
  readonly fatal?: ((why: string) => void) | undefined;
  /** Resolves when the request is carried out: a pod's listeners are bound before its ack. */
  readonly handle: (request: PodRequest) => Promise<PodAnswer>;
}

const backoff = { firstMs: 20, capMs: 15_000, jitter: 0.2 };
const maxErrorText = 500;
const noInfo = 'add without workload info';

export class PodSource {
  readonly #options: PodSourceOptions;
  #link: Link | undefined;
  #timer: Timer | undefined;
  #attempt = 0;
  #stopped = false;

  constructor(options: PodSourceOptions) {
    this.#options = options;
  }

  start(): void {
    const { log, path, open } = this.#options;
    let up = false;
    let order = Promise.resolve();
    const link = open(path, {
      connected: () => {
        up = true;
        this.#attempt = 0;
        log.info('connected to the node agent', { socket: path });
        this.#options.connected();
        link.send(encode('istio.workload.zds.ZdsHello', { version: 1 }));
      },
      message: (bytes, fds) => {
        order = order.then(() => this.#answer(link, bytes, fds));
      },
      closed: (error) => {
        if (up && error) log.warn('node agent connection failed', { error });
        if (up) this.#options.disconnected();
        this.#again();
      },
    });
    this.#link = link;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#link?.close();
  }

  #again(): void {
    if (this.#stopped) return;
    const { clock, random, log, path } = this.#options;
    const wait = backoffDelay(backoff, this.#attempt++, random);
    if (this.#attempt === 6) log.warn('the node agent cannot be reached', { socket: path });
    this.#timer = clock.after(wait, () => this.start());
  }

  async #answer(link: Link, bytes: Uint8Array, fds: readonly number[]): Promise<void> {
    if (!link.isOpen) return closeAll(fds);
    const answer = await this.#carryOut(bytes, fds);
    if (answer.error !== undefined) {
      this.#options.log.warn('request of the node agent refused', { error: answer.error });
    }
    if (!link.isOpen) return;
    const error = (answer.error ?? '').slice(0, maxErrorText);
    link.send(encode('istio.workload.zds.WorkloadResponse', { ack: { error } }));
    if (answer.fatal && this.#options.fatal) {
      setImmediate(this.#options.fatal, answer.error ?? '');
      return;
    }
    if (answer.broken || answer.fatal) link.close();
  }

  async #carryOut(bytes: Uint8Array, fds: readonly number[]): Promise<PodAnswer> {
    try {
      const request = readRequest(bytes);
      const wrong = typeof request === 'string' ? request : this.#wrongCount(request, fds.length);
      if (typeof request === 'string' || wrong !== undefined) {
        closeAll(fds);
        return { error: wrong ?? '', ...(wrong === noInfo ? { fatal: true } : { broken: true }) };
      }
      const [fd] = fds;
      if (request.kind !== 'add' || fd === undefined) return await this.#options.handle(request);
      const netns = new PodNamespace(fd);
      return await this.#options.handle({ ...request, pod: { ...request.pod, netns } });
    } catch (error) {
      return { error: printable(fromUnknown(error).message) };
    }
  }

  #wrongCount(request: PodRequest, count: number): string | undefined {
    const expected = request.kind === 'add' && this.#options.namespaces ? 1 : 0;
    return count === expected ? undefined : `${count} descriptors where ${expected} belong`;
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeFd(fd);
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
    if (!info) return noInfo;
    const addresses = readAddresses(info.addresses);
    if (!addresses) return 'add with an address that is none';
    const { name, namespace, serviceAccount } = info;
    const pod = { uid: message.add.uid, name, namespace, serviceAccount, addresses };
    return { kind: 'add', pod };
  }
  if (message.keep) return { kind: 'keep', uid: message.keep.uid };
  if (message.del) return { kind: 'del', uid: message.del.uid, drainMs: message.del.drainMs };
  if (message.snapshotSent) return { kind: 'snapshot' };
  return 'a request without payload';
}
