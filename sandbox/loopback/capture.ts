// The capture as the rest of the sandbox sees it: launch a process of a pod (captured or not),
// hand over a new view of pods and services, stop. Owns the two worker threads.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import type { Log } from '../../core/base/index.ts';
import {
  closeFd,
  errno,
  openPipe,
  openWaker,
  seccompNotifyAvailable,
  takeFd,
} from '../../core/linux/index.ts';
import type { CaptureView } from './decide.ts';
import type {
  ProcessSpec,
  SocketMeans,
  SpawnerReport,
  SpawnOrder,
  SupervisorData,
  SupervisorOrder,
  SupervisorReport,
} from './messages.ts';

export interface LaunchSpec extends ProcessSpec {
  /** Address of the pod the process belongs to. */
  readonly ip: string;
  /** False: mesh programs, whose own calls are not looked at. */
  readonly captured: boolean;
  readonly stdin: boolean;
}

export interface Exit {
  /** Exit code, or 128 + signal number. */
  readonly code: number;
  readonly signal: string;
}

/** A running process. `pid` is also its session and process group. */
export interface Launched {
  readonly pid: number;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exit: Promise<Exit>;
}

/** Which means is in force, and why. */
export interface Means {
  readonly kind: 'seccomp' | 'preload';
  readonly reason: string;
}

export interface Capture {
  readonly means: Means;
  /** Rejects with an error whose `code` is ENOENT, EACCES … if the program cannot be started. */
  launch(spec: LaunchSpec): Promise<Launched>;
  /** Resolves when every later call is judged by this view. */
  setView(view: CaptureView): Promise<void>;
  /** The session has no process any more. */
  forget(session: number): void;
  stop(): Promise<void>;
}

export interface CaptureOptions {
  readonly log: Log;
  /** How pods' sockets are reached; found out if absent. */
  readonly sockets?: SocketMeans | undefined;
  /** Called if the capture breaks down while running: pods can do nothing any more. */
  onLost(reason: string): void;
}

export type CaptureStart =
  | { readonly ok: true; readonly capture: Capture }
  | { readonly ok: false; readonly reason: string };

/** Starts the seccomp capture; a reason if this machine forbids it. */
export async function startSeccompCapture(options: CaptureOptions): Promise<CaptureStart> {
  const available = seccompNotifyAvailable();
  if (!available.ok) return available;
  // Node's shared threads must be born outside the filter, or every file operation is trapped.
  await fs.promises.stat('/');
  const sockets = options.sockets ?? probeSockets();
  const spawner = new Worker(new URL('./spawner.ts', import.meta.url), { workerData: sockets });
  const first = await firstReport(spawner);
  if (first.kind !== 'ready') {
    await spawner.terminate();
    return { ok: false, reason: first.kind === 'forbidden' ? first.reason : 'no spawner' };
  }
  const capture = new SeccompCapture(options, spawner, first.listener, sockets);
  return { ok: true, capture };
}

/** Containers often forbid pidfd_getfd even for one's own processes. */
function probeSockets(): SocketMeans {
  const fd = takeFd(process.pid, 0);
  if (fd >= 0) closeFd(fd);
  return fd === -errno.EPERM || fd === -errno.ENOSYS ? 'copies' : 'take';
}

async function firstReport(spawner: Worker): Promise<SpawnerReport> {
  try {
    const [message] = (await once(spawner, 'message', {
      signal: AbortSignal.timeout(10_000),
    })) as [SpawnerReport];
    return message;
  } catch (error) {
    return { kind: 'forbidden', reason: `the spawner did not start: ${String(error)}` };
  }
}

interface Starting {
  resolve(pid: number): void;
  reject(error: Error): void;
  exited(exit: Exit): void;
}

class SeccompCapture implements Capture {
  readonly means: Means;
  readonly #options: CaptureOptions;
  readonly #spawner: Worker;
  readonly #supervisor: Worker;
  readonly #listener: number;
  readonly #waker = openWaker();
  readonly #starting = new Map<number, Starting>();
  readonly #running = new Map<number, Starting>();
  readonly #views = new Map<number, () => void>();
  #nextId = 1;
  #stopped = false;

  constructor(options: CaptureOptions, spawner: Worker, listener: number, sockets: SocketMeans) {
    this.#options = options;
    this.#spawner = spawner;
    this.#listener = listener;
    const how = sockets === 'take' ? 'pidfd_getfd' : 'kept sockets';
    this.means = { kind: 'seccomp', reason: `seccomp user notification with ${how}` };
    const data: SupervisorData = {
      listener,
      waker: this.#waker,
      sockets,
      seed: process.pid,
    };
    this.#supervisor = new Worker(new URL('./supervisor.ts', import.meta.url), {
      workerData: data,
    });
    this.#supervisor.on('message', (m: SupervisorReport) => this.#fromSupervisor(m));
    this.#spawner.on('message', (m: SpawnerReport) => this.#fromSpawner(m));
    for (const worker of [this.#supervisor, this.#spawner]) {
      worker.on('error', (error) => this.#lost(error.message));
      worker.on('exit', () => this.#lost('a worker ended'));
    }
  }

  async launch(spec: LaunchSpec): Promise<Launched> {
    if (!spec.captured) return launchPlain(spec);
    if (this.#stopped) throw new Error('the capture has stopped');
    const out = openPipe();
    const err = openPipe();
    const input = spec.stdin ? openPipe() : undefined;
    const id = this.#nextId++;
    const theirs = [out.write, err.write, ...(input ? [input.read] : [])];
    const exit = Promise.withResolvers<Exit>();
    const started = Promise.withResolvers<number>();
    this.#starting.set(id, {
      resolve: (pid) => started.resolve(pid),
      reject: (error) => started.reject(error),
      exited: (e) => exit.resolve(e),
    });
    const order: SpawnOrder = {
      kind: 'spawn',
      id,
      file: spec.file,
      args: spec.args,
      env: spec.env,
      cwd: spec.cwd,
      stdin: input?.read,
      stdout: out.write,
      stderr: err.write,
    };
    this.#spawner.postMessage(order);
    try {
      const pid = await started.promise;
      this.#tell({ kind: 'session', session: pid, ip: spec.ip });
      return {
        pid,
        stdin: input && endOfPipe(input.write, 'write'),
        stdout: endOfPipe(out.read, 'read'),
        stderr: endOfPipe(err.read, 'read'),
        exit: exit.promise,
      };
    } catch (error) {
      for (const fd of [out.read, err.read, ...(input ? [input.write] : [])]) closeFd(fd);
      throw error;
    } finally {
      for (const fd of theirs) closeFd(fd);
    }
  }

  setView(view: CaptureView): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    const id = this.#nextId++;
    const applied = Promise.withResolvers<void>();
    this.#views.set(id, applied.resolve);
    this.#tell({ kind: 'view', view, id });
    return applied.promise;
  }

  forget(session: number): void {
    if (!this.#stopped) this.#tell({ kind: 'end', session });
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    const ended = once(this.#supervisor, 'exit');
    this.#tell({ kind: 'stop' });
    await ended;
    await this.#spawner.terminate();
    closeFd(this.#listener);
    closeFd(this.#waker);
    for (const done of this.#views.values()) done();
    this.#views.clear();
    for (const s of this.#starting.values()) s.reject(new Error('the capture has stopped'));
    this.#starting.clear();
  }

  #tell(order: SupervisorOrder): void {
    this.#supervisor.postMessage(order);
    const one = Buffer.alloc(8);
    one.writeBigUInt64LE(1n);
    fs.writeSync(this.#waker, one);
  }

  #fromSupervisor(message: SupervisorReport): void {
    if (message.kind === 'lost') return this.#lost(message.reason);
    this.#views.get(message.id)?.();
    this.#views.delete(message.id);
  }

  #fromSpawner(message: SpawnerReport): void {
    switch (message.kind) {
      case 'spawned': {
        const starting = this.#starting.get(message.id);
        if (!starting) return;
        this.#starting.delete(message.id);
        this.#running.set(message.id, starting);
        return starting.resolve(message.pid);
      }
      case 'failed': {
        const error: NodeJS.ErrnoException = new Error(message.message);
        error.code = message.code;
        this.#starting.get(message.id)?.reject(error);
        this.#starting.delete(message.id);
        return;
      }
      case 'exit':
        this.#running.get(message.id)?.exited(exitOf(message.code, message.signal));
        this.#running.delete(message.id);
        return;
      case 'ready':
      case 'forbidden':
        return;
    }
  }

  #lost(reason: string): void {
    if (this.#stopped) return;
    this.#options.log.error('the capture broke down', { reason });
    this.#options.onLost(reason);
  }
}

/** A process that is not captured, born from this thread. */
export function launchPlain(spec: ProcessSpec & { readonly stdin: boolean }): Promise<Launched> {
  const started = Promise.withResolvers<Launched>();
  const child: ChildProcess = spawn(spec.file, spec.args, {
    cwd: spec.cwd,
    env: spec.env,
    detached: true,
    stdio: [spec.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const exit = Promise.withResolvers<Exit>();
  child.on('exit', (code, signal) => exit.resolve(exitOf(code ?? 0, signal ?? '')));
  child.on('error', (error) => started.reject(error));
  const { pid, stdin, stdout, stderr } = child;
  for (const stream of [stdin, stdout, stderr]) stream?.on('error', () => {});
  if (pid !== undefined && stdout && stderr) {
    started.resolve({ pid, stdin: stdin ?? undefined, stdout, stderr, exit: exit.promise });
  }
  return started.promise;
}

function endOfPipe(fd: number, way: 'read' | 'write'): net.Socket {
  const stream = new net.Socket({ fd, readable: way === 'read', writable: way === 'write' });
  stream.on('error', () => {});
  return stream;
}

const signalNumbers = new Map([
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGQUIT', 3],
  ['SIGILL', 4],
  ['SIGABRT', 6],
  ['SIGKILL', 9],
  ['SIGSEGV', 11],
  ['SIGPIPE', 13],
  ['SIGTERM', 15],
]);

function exitOf(code: number, signal: string): Exit {
  return signal === ''
    ? { code, signal }
    : { code: 128 + (signalNumbers.get(signal) ?? 0), signal };
}
