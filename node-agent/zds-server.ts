// The node agent's end of ZDS: ztunnel connects to a SOCK_SEQPACKET socket, says hello, is told every
// pod it should serve with its network namespace, and acknowledges each message before the next
// (ztunnel-protocol.md 9.1, 9.2).
import type { Clock, Log } from '../core/base/index.ts';
import {
  closeFd,
  listenSeqpacket,
  type Packet,
  type SeqpacketConnection,
  type SeqpacketServer,
} from '../core/linux/index.ts';
import type { Messages } from '../core/proto/index.ts';
import { decode, type Draft, encode } from '../core/rpc/index.ts';

export interface ZdsPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Open for as long as the pod is told. */
  readonly netnsFd: number;
}

export interface ZdsServerOptions {
  readonly path: string;
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
  #server: SeqpacketServer | undefined;
  #open = new Set<SeqpacketConnection>();
  /** When the last ones came. */
  #accepts: number[] = [];

  constructor(options: ZdsServerOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#connections.length > 0;
  }

  /** Throws if the socket cannot be made. */
  start(): void {
    this.#server = listenSeqpacket(this.#options.path, (c) => this.#serve(c));
  }

  async stop(): Promise<void> {
    const stopped = this.#server?.stop();
    for (const c of this.#open) c.close();
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

  #serve(connection: SeqpacketConnection): void {
    const now = this.#options.clock.monotonic();
    this.#accepts = [...this.#accepts.filter((at) => now - at < 1000), now];
    this.#open.add(connection);
    const talk = new Conversation(connection, this.#options.clock);
    connection.on({
      packet: (packet) => talk.take(packet),
      close: () => {
        this.#open.delete(connection);
        talk.closed();
        const at = this.#connections.indexOf(talk);
        if (at < 0) return;
        this.#connections.splice(at, 1);
        this.#options.log.info('ztunnel disconnected');
        if (!this.isConnected) this.#options.connected(false);
      },
    });
    if (this.#open.size > mostConnections || this.#accepts.length > mostAccepts) {
      connection.close();
      return;
    }
    this.#greet(talk).catch((error: unknown) => {
      this.#options.log.warn('a ZDS connection ended early', { error: String(error) });
      connection.close();
    });
  }

  async #greet(talk: Conversation): Promise<void> {
    const { log } = this.#options;
    const hello = decode('istio.workload.zds.ZdsHello', await talk.message());
    this.#connections.push(talk);
    const pods = this.#options.snapshot();
    log.info('ztunnel connected', { version: hello.version, pods: pods.length });
    for (const pod of pods) {
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

const addOf = ({ uid, name, namespace, serviceAccount }: ZdsPod) => ({
  uid,
  workloadInfo: { name, namespace, serviceAccount },
});

/** One message at a time out, its ack back; a late answer ends the connection. */
class Conversation {
  readonly #connection: SeqpacketConnection;
  readonly #clock: Clock;
  readonly #inbox: Uint8Array[] = [];
  #wanted: ((message: Uint8Array | undefined) => void) | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(connection: SeqpacketConnection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  get isOpen(): boolean {
    return this.#connection.isOpen;
  }

  take({ bytes, fds, truncated }: Packet): void {
    for (const fd of fds) closeFd(fd);
    // A second message that nobody waits for is a late answer: the next one would be taken for another's.
    if (truncated || fds.length > 0 || this.#inbox.length >= 1) this.#connection.close();
    else if (this.#wanted) this.#wanted(bytes);
    else this.#inbox.push(bytes);
  }

  closed(): void {
    this.#wanted?.(undefined);
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
        this.#connection.close();
      });
      this.#wanted = (message) => {
        this.#wanted = undefined;
        timer.cancel();
        if (message) done(message);
        else fail(new Error('ztunnel disconnected'));
      };
    });
  }

  async #exchange(request: Request, fd: number | undefined): Promise<void> {
    const bytes = encode('istio.workload.zds.WorkloadRequest', request);
    if (!this.#connection.send(bytes, fd)) throw new Error('ztunnel disconnected');
    const answer = decode('istio.workload.zds.WorkloadResponse', await this.message());
    const error = answer.ack?.error ?? '';
    if (error !== '') throw new Error(error);
  }
}
