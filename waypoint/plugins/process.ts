// One process of one plugin: started, loaded, asked, watched, ended. It is ended for good by the first thing it does wrong;
// whether another follows is decided in plugins.ts.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../core/base/index.ts';
import { hooks as allHooks } from './answers.ts';
import { CallsState } from './calls-state.ts';
import { commandOf, type Containment } from './containment.ts';
import type { Hook } from './contract.ts';
import { encodeFrame, FrameReader, maxFrame } from './frames.ts';

/** Why there is no answer: a word for metrics, and what more is known. */
export class NoPluginAnswer extends Error {}

/** Why a process ended. */
export type Ended = 'overrun' | 'memory' | 'cpu' | 'protocol' | 'exit' | 'broken' | 'stopped';

const startLimitMs = 10_000;
const lookMs = 500;
const maxResidentKb = 256 * 1024;
/** Work that nobody asked for: so much in all, beyond what is free in each `lookMs`. */
const maxIdleCpuMs = 250;
const freeIdleCpuMs = 20;
const msPerTick = 10;

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

export interface ProcessOptions {
  readonly source: string;
  readonly timeoutMs: number;
  readonly containment: Containment;
  readonly clock: Clock;
  /** Once, whatever the reason. */
  readonly ended: (why: Ended, detail: string) => void;
}

type Message = Readonly<Record<string, unknown>>;

export class PluginProcess {
  /** Known once it is loaded; `undefined` = it never was. */
  readonly loaded: Promise<ReadonlySet<Hook> | undefined>;
  readonly #o: ProcessOptions;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex;
  readonly #calls: CallsState<Waiting>;
  #onLoaded: (hooks: ReadonlySet<Hook> | undefined) => void = () => {};
  #isLoaded = false;
  #over = false;
  #stopping = false;
  #due: Timer | undefined;
  #look: Timer | undefined;
  #cpuTicks = 0;
  #idleCpuMs = 0;
  #asked = true;

  constructor(o: ProcessOptions) {
    this.#o = o;
    this.#calls = new CallsState(o.timeoutMs);
    this.loaded = new Promise((resolve) => (this.#onLoaded = resolve));
    const [program, ...args] = commandOf(o.containment);
    this.#child = spawn(program, args, {
      env: {},
      cwd: '/',
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    this.#pipe = this.#child.stdio[3] as Duplex;
    const reader = new FrameReader(maxFrame);
    this.#pipe.on('data', (bytes: Buffer) => this.#read(reader, bytes));
    this.#pipe.on('error', () => {});
    this.#child.once('error', (error) => this.#end('exit', error.message));
    this.#child.once('exit', (code, signal) => this.#end('exit', `with ${signal ?? code ?? ''}`));
    this.#pipe.write(encodeFrame({ load: o.source }));
    this.#due = o.clock.after(startLimitMs, () => this.#end('overrun', 'it was never ready'));
  }

  get usable(): boolean {
    return this.#isLoaded && !this.#over;
  }

  /** What the hook returned; rejects with NoPluginAnswer. */
  call(hook: Hook, args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.usable) return reject(new NoPluginAnswer('it does not run'));
      const now = this.#o.clock.monotonic();
      const id = this.#calls.sent(now, { resolve, reject });
      if (id === undefined) return reject(new NoPluginAnswer('too many wait'));
      this.#asked = true;
      this.#pipe.write(encodeFrame({ id, hook, args }));
      this.#watch();
    });
  }

  /** No new calls come; ends once those that run are answered. */
  stop(): void {
    this.#stopping = true;
    if (this.#calls.size === 0) this.#end('stopped', '');
  }

  kill(): void {
    this.#end('stopped', '');
  }

  /** A timer for the call that is next; none while nothing waits. */
  #watch(): void {
    if (this.#due) return;
    const due = this.#calls.dueMs();
    if (due === undefined) return;
    const now = this.#o.clock.monotonic();
    this.#due = this.#o.clock.after(Math.max(0, due - now), () => {
      // An answer that has come while this process was busy itself is read first.
      setImmediate(() => {
        this.#due = undefined;
        if (this.#over) return;
        const still = this.#calls.dueMs();
        if (still !== undefined && still <= this.#o.clock.monotonic()) {
          this.#end('overrun', `no answer within ${this.#o.timeoutMs} ms`);
        } else this.#watch();
      });
    });
  }

  #read(reader: FrameReader, bytes: Buffer): void {
    if (this.#over) return;
    try {
      for (const m of reader.push(bytes)) this.#take(m);
    } catch (error) {
      this.#end('protocol', error instanceof Error ? error.message : '');
    }
  }

  #take(given: unknown): void {
    if (this.#over) return;
    if (typeof given !== 'object' || given === null) throw new Error('no message');
    const m = given as Message;
    if (!this.#isLoaded) return this.#first(m);
    const id = typeof m['id'] === 'number' ? m['id'] : 0;
    const waiting = this.#calls.answered(this.#o.clock.monotonic(), id);
    if (!waiting) throw new Error('an answer to nothing');
    if (typeof m['error'] === 'string')
      waiting.reject(new NoPluginAnswer(`it threw: ${m['error'].slice(0, 300)}`));
    else waiting.resolve(m['answer']);
    if (this.#stopping && this.#calls.size === 0) this.#end('stopped', '');
  }

  #first(m: Message): void {
    if (typeof m['broken'] === 'string') return this.#end('broken', m['broken'].slice(0, 300));
    const { ready } = m;
    if (!Array.isArray(ready)) throw new Error('no message');
    this.#due?.cancel();
    this.#due = undefined;
    this.#isLoaded = true;
    this.#onLoaded(new Set(allHooks.filter((h) => ready.includes(h))));
    this.#lookLater();
  }

  #lookLater(): void {
    this.#look = this.#o.clock.after(lookMs, () => void this.#lookAt());
  }

  /** What no deadline of a call can see: memory, and work that nobody asked for. */
  async #lookAt(): Promise<void> {
    const asked = this.#asked || this.#calls.size > 0;
    this.#asked = this.#calls.size > 0;
    try {
      const pid = await this.#pid();
      const [stat, status] = await Promise.all([
        readFile(`/proc/${pid}/stat`, 'latin1'),
        readFile(`/proc/${pid}/status`, 'latin1'),
      ]);
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const ticks = Number(fields[11]) + Number(fields[12]);
      const busyMs = (ticks - this.#cpuTicks) * msPerTick;
      this.#cpuTicks = ticks;
      if (Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) > maxResidentKb) {
        return this.#end('memory', `more than ${maxResidentKb >> 10} MiB`);
      }
      if (!asked) this.#idleCpuMs = Math.max(0, this.#idleCpuMs + busyMs - freeIdleCpuMs);
      if (this.#idleCpuMs > maxIdleCpuMs) return this.#end('cpu', 'it works without being asked');
    } catch {
      // It is gone, or /proc is not there; then deadlines alone hold it.
    }
    if (!this.#over) this.#lookLater();
  }

  async #pid(): Promise<string> {
    const own = String(this.#child.pid ?? '');
    if (!this.#o.containment.forks) return own;
    return (
      (await readFile(`/proc/${own}/task/${own}/children`, 'latin1')).trim().split(' ')[0] ?? ''
    );
  }

  #end(why: Ended, detail: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#due?.cancel();
    this.#look?.cancel();
    this.#child.kill('SIGKILL');
    this.#pipe.destroy();
    this.#onLoaded(undefined);
    for (const w of this.#calls.drop())
      w.reject(new NoPluginAnswer(why === 'overrun' ? detail : 'it ended'));
    this.#o.ended(why, detail);
  }
}
