// Counts in a store that speaks the Redis protocol. One connection; while it is down every question fails at once, and
// the proxies do what their policies say.
import net from 'node:net';
import { backoffDelay, type Clock, type Log, type Random } from '../core/base/index.ts';
import { type Reply, ReplyReader, writeCommand } from './resp.ts';
import type { Store } from './store.ts';
import type { Count } from './window-plan.ts';

export interface RedisOptions {
  readonly host: string;
  readonly port: number;
  /** Sent with AUTH; never logged. */
  readonly password?: string | undefined;
  /** Of one question. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const again = { firstMs: 50, capMs: 2_000, jitter: 0.2 };
const maxWaiting = 10_000;

type Waiting = (reply: Reply) => void;

export class RedisStore implements Store {
  readonly #o: RedisOptions;
  #socket: net.Socket | undefined;
  #ready = false;
  #waiting: Waiting[] = [];
  #failures = 0;
  #stopped = false;

  constructor(o: RedisOptions) {
    this.#o = o;
    this.#connect();
  }

  #connect(): void {
    if (this.#stopped) return;
    const { host, port, password, log, clock, random } = this.#o;
    const socket = net.connect({ host, port, noDelay: true, keepAlive: true });
    const reader = new ReplyReader();
    this.#socket = socket;
    socket.once('connect', () => {
      if (password !== undefined)
        this.#send(['AUTH', password], (r) => r instanceof Error && socket.destroy(r));
      this.#send(['PING'], (r) => {
        if (r instanceof Error) return void socket.destroy(r);
        this.#ready = true;
        this.#failures = 0;
        log.info('counting in the store', { host, port });
      });
    });
    socket.on('data', (bytes: Buffer) => {
      try {
        for (const reply of reader.push(bytes)) this.#waiting.shift()?.(reply);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : undefined);
      }
    });
    socket.on('error', (error) => {
      if (this.#failures === 0) log.warn('the store cannot be used', { host, port, error });
    });
    socket.on('close', () => {
      this.#ready = false;
      const lost = this.#waiting;
      this.#waiting = [];
      for (const done of lost) done(new Error('the store closed the connection'));
      if (this.#stopped) return;
      clock.after(backoffDelay(again, this.#failures++, random), () => this.#connect());
    });
  }

  #send(parts: readonly string[], done: Waiting): void {
    this.#waiting.push(done);
    this.#socket?.write(writeCommand(parts));
  }

  add(counts: readonly Count[]): Promise<number[]> {
    if (!this.#ready) return Promise.reject(new Error('the store is not connected'));
    if (this.#waiting.length > maxWaiting) return Promise.reject(new Error('the store is slow'));
    return new Promise((resolve, reject) => {
      const socket = this.#socket;
      // Answers come in order: one that never comes takes the connection with it.
      const timer = this.#o.clock.after(this.#o.timeoutMs, () => {
        reject(new Error('no answer from the store'));
        socket?.destroy();
      });
      const out: number[] = [];
      for (const [i, { key, hits, keepMs }] of counts.entries()) {
        this.#send(['INCRBY', key, String(hits)], (r) => {
          if (typeof r === 'number') out.push(r);
          else reject(r instanceof Error ? r : new Error('an answer that is no number'));
        });
        this.#send(['PEXPIRE', key, String(keepMs)], (r) => {
          if (r instanceof Error) reject(r);
          if (i < counts.length - 1) return;
          timer.cancel();
          resolve(out);
        });
      }
      if (counts.length === 0) {
        timer.cancel();
        resolve(out);
      }
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.destroy();
  }
}
