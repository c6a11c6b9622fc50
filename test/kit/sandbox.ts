// A sandbox of its own for one test file: the real daemon, in a temporary folder, gone afterwards.
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDetached, stopSandbox, World } from '../../cli/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { connectKube } from '../../core/kube/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';

const main = join(import.meta.dirname, '../../cli/main.ts');

export interface Finished {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface TestSandbox {
  readonly dir: string;
  readonly world: World;
  /** Runs ambientctl as a user would, with the sandbox's kubeconfig. */
  ctl(...args: string[]): Promise<Finished>;
  run(command: string, ...args: string[]): Promise<Finished>;
  stop(): Promise<void>;
}

/** What only the last resort of a program caught is a mistake of ours, whatever the story saw (R2). */
function lastResort(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.log'))
    .flatMap((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8').split('\n'))
    .filter((line) => /uncaught exception|unhandled rejection/.test(line));
}

export async function startSandbox(
  how: { readonly driver: 'loopback' | 'netns'; readonly nodes: number } = {
    driver: 'loopback',
    nodes: 1,
  },
): Promise<TestSandbox> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-test-'));
  const undo = async (): Promise<void> => {
    await stopSandbox(dir, 30_000);
    const caught = lastResort(dir);
    rmSync(dir, { recursive: true, force: true });
    if (caught.length > 0) throw new Error(`the last resort caught: ${caught.join('\n')}`);
  };
  try {
    await startDetached({
      dir,
      ...how,
      mesh: true,
      timeoutMs: 60_000,
      progress: () => {},
    });
  } catch (error) {
    await undo();
    throw error;
  }
  const kubeconfig = join(dir, 'kubeconfig');
  const kube = await connectKube({
    kubeconfig,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  const run = (command: string, ...args: string[]): Promise<Finished> =>
    new Promise((resolve) => {
      const env = { ...process.env, KUBECONFIG: kubeconfig, NO_COLOR: '1' };
      execFile(command, args, { env, timeout: 120_000, maxBuffer: 64 << 20 }, (error, out, err) => {
        const code = error ? (typeof error.code === 'number' ? error.code : 255) : 0;
        resolve({ code, out, err });
      });
    });
  return {
    dir,
    world: new World(kube, dir),
    ctl: (...args) => run(process.execPath, main, ...args),
    run,
    stop: undo,
  };
}
