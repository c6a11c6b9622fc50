// Starts the sandbox's daemon and waits until API and mesh are ready, telling what it waits for.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { readState, readStatus, type SandboxStatus } from '../../sandbox/index.ts';
import { CliError } from '../errors.ts';

export interface UpOptions {
  readonly dir: string;
  readonly driver: string;
  /** Driver `netns` alone. Default 1. */
  readonly nodes?: number;
  readonly mesh: boolean;
  readonly timeoutMs: number;
  /** One line of progress. */
  readonly progress: (text: string) => void;
}

const daemon = join(import.meta.dirname, '../../sandbox/main.ts');
const meshPrograms = ['istiod', 'ztunnel'];

export function checkDriver(driver: string): void {
  if (!['loopback', 'netns', 'auto'].includes(driver)) {
    throw new CliError(`driver "${driver}" is not known; use loopback, netns or auto`);
  }
}

/** `--nodes`. */
export function nodeCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 50) return count;
  throw new CliError(`--nodes must be 1 to 50, is ${text}`);
}

function lastLines(file: string, count: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
}

/** Which of the mesh's programs are not ready yet. */
export function notReady(status: SandboxStatus): string[] {
  const ready = (name: string): number =>
    status.mesh.filter((m) => m.name.startsWith(name) && m.ready).length;
  const agents = status.driver === 'netns' ? ['node-agent'] : [];
  return [...meshPrograms, ...agents].filter(
    (name) => ready(name) < (name === 'istiod' ? 1 : status.nodes.length),
  );
}

/** Rejects with the daemon's last lines if it ends or is not ready in time. */
export async function startDetached(o: UpOptions): Promise<SandboxStatus> {
  const dir = resolve(o.dir);
  const running = readState(dir);
  if (running) {
    o.progress(`a sandbox already runs in ${dir} (pid ${running.pid})`);
    return waitReady(dir, o, () => undefined);
  }
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const logFile = join(dir, 'sandbox.log');
  const out = openSync(logFile, 'a', 0o600);
  const args = [daemon, '--dir', dir, '--driver', o.driver, '--nodes', String(o.nodes ?? 1)];
  if (!o.mesh) args.push('--no-mesh');
  const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', out, out] });
  closeSync(out);
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    ended = `it ended with ${signal ?? `code ${code}`}`;
  });
  o.progress(`starting the sandbox in ${dir}`);
  const status = await waitReady(dir, o, () =>
    ended === undefined
      ? undefined
      : `the sandbox did not start: ${ended}\n${lastLines(logFile, 8)}`,
  );
  child.unref();
  return status;
}

async function waitReady(
  dir: string,
  o: UpOptions,
  failure: () => string | undefined,
): Promise<SandboxStatus> {
  const end = performance.now() + o.timeoutMs;
  let said = '';
  for (;;) {
    const why = failure();
    if (why !== undefined) throw new CliError(why);
    const status = readState(dir) ? await readStatus(dir).catch(() => undefined) : undefined;
    const missing = status && o.mesh ? notReady(status) : [];
    if (status && missing.length === 0) return status;
    const waiting = status ? `waiting for ${missing.join(' and ')}` : 'waiting for the API';
    if (waiting !== said) o.progress(waiting);
    said = waiting;
    if (performance.now() > end) {
      throw new CliError(
        `${waiting}: not ready within ${o.timeoutMs / 1000} s; see ${join(dir, 'sandbox.log')}`,
      );
    }
    await pause(50);
  }
}

/** Until a signal says to end it (`told`), or it has ended by itself (`gone`). */
export async function untilEnd(dir: string): Promise<'told' | 'gone'> {
  const told = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => told.abort());
  // A signal’s listener alone keeps no process alive; the pause between two looks does.
  while (readState(dir)) {
    await pause(500, undefined, { signal: told.signal }).catch(() => undefined);
    if (told.signal.aborted) return 'told';
  }
  return 'gone';
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Ends a running sandbox; false = none ran. */
export async function stopSandbox(dir: string, timeoutMs: number): Promise<boolean> {
  const state = readState(dir);
  if (!state) return false;
  process.kill(state.pid, 'SIGTERM');
  const end = performance.now() + timeoutMs;
  // Its state file goes early; the process is what must be gone.
  while (lives(state.pid)) {
    if (performance.now() > end) {
      throw new CliError(`the sandbox (pid ${state.pid}) did not end within ${timeoutMs / 1000} s`);
    }
    await pause(50);
  }
  return true;
}
