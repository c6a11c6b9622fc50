// The node agent's end of ZDS: ztunnel connects, says hello, is told every pod it should serve (with its
// network namespace, where the link can carry one), and acknowledges each message before the next
// (ztunnel-protocol.md 9.1, 9.2).
import type { Clock, Log } from '../base/index.ts';
import { closeFd } from '../linux/index.ts';
import type { Messages } from '../proto/index.ts';
import { decode, type Draft, encode } from '../rpc/index.ts';
import type { Link, LinkHandlers, LinkServer, ListenLinks } from './link.ts';

export interface ZdsPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Where its proxy listens; for a pod without a namespace of its own. */
  readonly addresses?: readonly string[];
  /** Open for as long as the pod is told. */
  readonly netnsFd?: number;
}

export interface ZdsServerOptions {
  readonly path: string;
  readonly listen: ListenLinks;
  readonly clock: Clock;
  readonly log: Log;
  /** The pods that a ztunnel is told about when it connects. */
  snapshot(): readonly ZdsPod[];
  /** A ztunnel has been told everything; `false`: the last one has left. */
  connected(is: boolean): void;
}

type Request = Draft<Messages['istio.workload.zds.WorkloadRequest']>;

const ackMs = 5_000;
const mostConnections = 4;
/** Connections taken in one second (ztunnel-protocol.md 9.2). */
const mostAccepts = 5;

export class ZdsServer {
  readonly #options: ZdsServerOptions;
  /** Oldest first; adds go to the newest, removals to all. */
  readonly #connections: Conversation[] = [];
  #server: LinkServer | undefined;
  readonly #open = new Set<Conversation>();
  /** When the last ones came. */
  #accepts: number[] = [];

  constructor(options: ZdsServerOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#connections.length > 0;
  }

  /** Rejects if the socket cannot be made. */
  async start(): Promise<void> {
    const { listen, path } = this.#options;
    this.#server = await listen(path, (attach) => this.#serve(attach));
  }

  async stop(): Promise<void> {
    const stopped = this.#server?.stop();
    for (const talk of this.#open) talk.close();
    await stopped;
  }

  /** Resolves when ztunnel listens in the pod; rejects with its reason, or if none is there. */
  async add(pod: ZdsPod): Promise<void> {
    const newest = this.#connections.at(-1);
    if (!newest) throw new Error('no ztunnel is connected');
    await newest.request({ add: addOf(pod) }, pod.netnsFd);
  }

  /** Tells every ztunnel; one that does not answer is no obstacle. */
  async remove(uid: string, drainMs: number): Promise<void> {
    await Promise.allSettled(this.#connections.map((c) => c.request({ del: { uid, drainMs } })));
  }

  #serve(attach: (handlers: LinkHandlers) => Link): void {
    const now = this.#options.clock.monotonic();
    this.#accepts = [...this.#accepts.filter((at) => now - at < 1000), now];
    const talk: Conversation = new Conversation(attach, this.#options.clock, () => {
      this.#open.delete(talk);
      const at = this.#connections.indexOf(talk);
      if (at < 0) return;
      this.#connections.splice(at, 1);
      this.#options.log.info('ztunnel disconnected');
      if (!this.isConnected) this.#options.connected(false);
    });
    this.#open.add(talk);
    if (this.#open.size > mostConnections || this.#accepts.length > mostAccepts) {
      talk.close();
      return;
    }
    this.#greet(talk).catch((error: unknown) => {
      this.#options.log.warn('a ZDS connection ended early', { error: String(error) });
      talk.close();
    });
  }

  async #greet(talk: Conversation): Promise<void> {
    const { log } = this.#options;
    const hello = decode('istio.workload.zds.ZdsHello', await talk.message());
    this.#connections.push(talk);
    const pods = this.#options.snapshot();
    log.info('ztunnel connected', { version: hello.version, pods: pods.length });
    for (const pod of pods) {
      // Meanwhile it may have gone, and the number of its descriptor be another's.
      if (!this.#options.snapshot().includes(pod)) continue;
      try {
        await talk.request({ add: addOf(pod) }, pod.netnsFd);
      } catch (error) {
        // Refused, not lost: ztunnel tries that pod again by itself.
        if (!talk.isOpen) throw error;
        log.warn('ztunnel refused a pod', { pod: pod.name, error: String(error) });
      }
    }
    await talk.request({ snapshotSent: {} });
    this.#options.connected(true);
  }
}

const addOf = ({ uid, name, namespace, serviceAccount, addresses = [] }: ZdsPod) => ({
  uid,
  workloadInfo: { name, namespace, serviceAccount, addresses },
});

/** One message at a time out, its ack back; a late answer ends the connection. */
class Conversation {
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #inbox: Uint8Array[] = [];
  #wanted: ((message: Uint8Array | undefined) => void) | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(attach: (handlers: LinkHandlers) => Link, clock: Clock, closed: () => void) {
    this.#clock = clock;
    this.#link = attach({
      message: (bytes, fds) => this.#take(bytes, fds),
      closed: () => {
        this.#wanted?.(undefined);
        closed();
      },
    });
  }

  get isOpen(): boolean {
    return this.#link.isOpen;
  }

  close(): void {
    this.#link.close();
  }

  request(request: Request, fd?: number): Promise<void> {
    const mine = this.#turn.then(() => this.#exchange(request, fd));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** The next message; rejects when the connection ends or the time is up. */
  message(): Promise<Uint8Array> {
    const first = this.#inbox.shift();
    if (first) return Promise.resolve(first);
    if (!this.isOpen) return Promise.reject(new Error('ztunnel disconnected'));
    return new Promise((done, fail) => {
      const timer = this.#clock.after(ackMs, () => {
        fail(new Error('ztunnel did not answer in time'));
        this.close();
      });
      this.#wanted = (message) => {
        this.#wanted = undefined;
        timer.cancel();
        if (message) done(message);
        else fail(new Error('ztunnel disconnected'));
      };
    });
  }

  #take(bytes: Uint8Array, fds: readonly number[]): void {
    for (const fd of fds) closeFd(fd);
    // A second message that nobody waits for is a late answer: the next one would be taken for another's.
    if (fds.length > 0 || this.#inbox.length >= 1) this.close();
    else if (this.#wanted) this.#wanted(bytes);
    else this.#inbox.push(bytes);
  }

  async #exchange(request: Request, fd: number | undefined): Promise<void> {
    const bytes = encode('istio.workload.zds.WorkloadRequest', request);
    if (!this.#link.send(bytes, fd)) throw new Error('ztunnel disconnected');
    const answer = decode('istio.workload.zds.WorkloadResponse', await this.message());
    const error = answer.ack?.error ?? '';
    if (error !== '') throw new Error(error);
  }
}
