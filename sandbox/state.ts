// The files by which others find a running sandbox: state.json, the lock, the status socket, the
// wrapper in bin/. Written by the daemon, read by the CLI.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';

export interface SandboxState {
  readonly pid: number;
  /** B of the address block 127.B.0.0/16. */
  readonly block: number;
  /** `https://127.B.0.1:6443` */
  readonly api: string;
  readonly driver: 'loopback' | 'netns';
  readonly nodes: readonly string[];
  readonly means: 'seccomp' | 'preload' | 'namespaces';
  /** Why these means. */
  readonly reason: string;
  /** RFC 3339. */
  readonly started: string;
  readonly dir: string;
}

export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  readonly ip: string;
  readonly node: string;
  readonly pid: number | undefined;
  readonly phase: string;
  readonly ready: boolean;
  /** Its own traffic goes through ztunnel. */
  readonly enrolled: boolean;
}

export interface SandboxStatus {
  readonly driver: string;
  readonly nodes: readonly string[];
  readonly means: string;
  readonly reason: string;
  readonly dir: string;
  readonly api: string;
  readonly pods: readonly PodRow[];
  readonly mesh: readonly {
    readonly name: string;
    readonly ip: string;
    readonly ports: readonly number[];
    readonly pid: number | undefined;
    readonly ready: boolean;
  }[];
}

/** What a process is called for good: pids are used again. */
function startedAt(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export class StateFiles {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Takes the directory for this process; throws if another living one has it. */
  lock(): () => void {
    const file = path.join(this.#dir, 'lock');
    const mine = `${process.pid} ${startedAt(process.pid) ?? ''}`;
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        fs.writeFileSync(file, mine, { flag: 'wx' });
        return () => fs.rmSync(file, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const [pid = '', started] = (readText(file) ?? '').split(' ');
      if (started !== undefined && startedAt(Number(pid)) === started) {
        throw new Error(`a sandbox already runs in ${this.#dir} (pid ${pid})`);
      }
      fs.rmSync(file, { force: true });
    }
    throw new Error(`the lock of ${this.#dir} cannot be taken`);
  }

  /** The block of the last run: its addresses are in the data. */
  lastBlock(): number | undefined {
    const block = Number(readText(path.join(this.#dir, 'block')));
    return Number.isInteger(block) && block > 0 ? block : undefined;
  }

  write(state: SandboxState, packageRoot: string): () => void {
    fs.writeFileSync(path.join(this.#dir, 'block'), String(state.block));
    const file = path.join(this.#dir, 'state.json');
    fs.writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
    fs.renameSync(`${file}.new`, file);
    const bin = path.join(this.#dir, 'bin');
    fs.mkdirSync(bin, { recursive: true });
    const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
    const main = path.join(packageRoot, 'cli', 'main.ts');
    const script = `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(main)} "$@"\n`;
    fs.writeFileSync(path.join(bin, 'ambientctl'), script, { mode: 0o755 });
    return () => this.remove();
  }

  /** The state file: nobody finds the sandbox any more. */
  remove(): void {
    fs.rmSync(path.join(this.#dir, 'state.json'), { force: true });
  }

  /** DIR/sandbox.sock: whoever connects reads the status as one JSON text. */
  async serveStatus(status: () => SandboxStatus): Promise<() => Promise<void>> {
    const file = path.join(this.#dir, 'sandbox.sock');
    fs.rmSync(file, { force: true });
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.setTimeout(5_000, () => socket.destroy());
      socket.end(`${JSON.stringify(status())}\n`);
    });
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen(file, done);
    });
    return () => new Promise((done) => server.close(() => done()));
  }
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** The state of the sandbox in `dir`, if one runs there. */
export function readState(dir: string): SandboxState | undefined {
  const text = readText(path.join(dir, 'state.json'));
  if (text === undefined) return undefined;
  try {
    const state = JSON.parse(text) as SandboxState;
    return startedAt(state.pid) === undefined ? undefined : state;
  } catch {
    return undefined;
  }
}

const statusMs = 5_000;

/** Asks the running sandbox; rejects if none answers. */
export function readStatus(dir: string): Promise<SandboxStatus> {
  return new Promise((done, fail) => {
    const socket = net.connect(path.join(dir, 'sandbox.sock'));
    const chunks: Buffer[] = [];
    socket.setTimeout(statusMs, () => socket.destroy(new Error('the sandbox does not answer')));
    socket.on('error', fail);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      try {
        done(JSON.parse(Buffer.concat(chunks).toString('utf8')) as SandboxStatus);
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
    });
  });
}

/** Removes a stopped sandbox with all its data. Throws if it runs. */
export function purge(dir: string): void {
  if (readState(dir)) throw new Error(`the sandbox in ${dir} still runs: stop it first`);
  if (!fs.existsSync(path.join(dir, 'block'))) throw new Error(`${dir} holds no sandbox`);
  fs.rmSync(dir, { recursive: true, force: true });
}
