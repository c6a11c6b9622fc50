// Driver `netns` for an ordinary user (sandbox.md D17): the sandbox runs in user, network, mount and process
// namespaces of its own. This process stays outside: it holds what the host must see of it, the lock, the
// address block and the API's listening socket, and ends with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import type { Log } from '../core/base/index.ts';
import { fdOf, unshareArgs } from '../core/linux/index.ts';
import type { Running } from '../core/runtime/index.ts';
import { apiAddress, apiPort, type Block, claimBlock } from './loopback/index.ts';
import { StateFiles } from './state.ts';

/** What the process inside is told by the one outside. */
export interface Inside {
  readonly block: Block;
  /** Of the process outside: who is to be signalled. */
  readonly pid: number;
  /** The API's listening socket in the host's network. */
  readonly apiFd: number;
  readonly reason: string;
}

/** Descriptors 0 to 2 and Node's channel (3) come first. */
const apiFdInside = 4;
const stopLimitMs = 20_000;

export const readInside = (text: string | undefined): Inside | undefined =>
  text === undefined ? undefined : (JSON.parse(text) as Inside);

/** Starts the same program inside; resolves when it runs, rejects if the block or its API has no place. */
export async function startOutside(options: {
  readonly dir: string;
  /** The program's own arguments. */
  readonly args: readonly string[];
  readonly log: Log;
  readonly lost: () => void;
}): Promise<Running> {
  const { dir, args, log } = options;
  const files = new StateFiles(dir);
  const unlock = files.lock();
  const claimed = await claimBlock(files.lastBlock());
  const door = net.createServer();
  door.listen({ host: apiAddress(claimed.block), port: apiPort, backlog: 512 });
  await once(door, 'listening');
  const inside: Inside = {
    block: claimed.block,
    pid: process.pid,
    apiFd: apiFdInside,
    reason: 'in a user namespace, without root',
  };
  const main = path.join(import.meta.dirname, 'main.ts');
  const command = [process.execPath, main, ...args, '--inside', JSON.stringify(inside)];
  const child = spawn('unshare', unshareArgs(command), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', fdOf(door) ?? 'ignore'],
  });
  // Our copy, in the tick of the start: it would take connections from the process inside.
  door.close();
  const gone = new Promise<void>((done) => {
    child.once('exit', () => done());
    child.once('error', () => done());
  });
  let stopping = false;
  void gone.then(() => {
    if (stopping) return;
    log.error('the sandbox inside its namespaces has ended');
    options.lost();
  });
  return {
    async stop() {
      stopping = true;
      end(child);
      const timer = setTimeout(() => child.kill('SIGKILL'), stopLimitMs);
      await gone;
      clearTimeout(timer);
      files.remove();
      await claimed.release();
      unlock();
    },
  };
}

/** The process inside has another number there, and `unshare` passes no signal on. */
function end(child: ChildProcess): void {
  if (child.connected) child.send('stop', () => {});
}

/** For the process inside: ends when it is told to, and at once when nobody is outside any more. */
export function followOutside(): void {
  process.on('message', () => process.kill(process.pid, 'SIGTERM'));
  process.on('disconnect', () => process.exit(1));
}
