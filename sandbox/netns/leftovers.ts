// Takes a sandbox's namespaces away, with whatever runs in them, and what a killed run left behind.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { runIp } from '../../core/linux/index.ts';
import { blockOf, isOurs } from './plan.ts';

const runDir = '/run/netns';
const etc = '/etc/netns';

const names = (folder: string): string[] =>
  fs.existsSync(folder) ? fs.readdirSync(folder).filter(isOurs) : [];

/** Blocks that have namespaces or files on this machine. */
export const blocksInUse = (): number[] => [
  ...new Set([...names(runDir), ...names(etc)].map(blockOf)),
];

/** Ends the processes in them; the caller holds the block's lock, so that they are nobody else's. */
export async function removeNamespaces(block: number): Promise<void> {
  const mine = names(runDir).filter((name) => blockOf(name) === block);
  for (const name of mine) {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
    for (const pid of (stdout ?? '').split('\n').map(Number)) if (pid > 1) kill(pid);
  }
  if (mine.length > 0) {
    await runIp(
      mine.map((name) => `netns del ${name}`),
      undefined,
      { force: true },
    ).catch(() => {});
  }
  for (const name of names(etc)) {
    if (blockOf(name) === block) fs.rmSync(path.join(etc, name), { recursive: true, force: true });
  }
  if (fs.existsSync(etc) && fs.readdirSync(etc).length === 0) fs.rmdirSync(etc);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}
