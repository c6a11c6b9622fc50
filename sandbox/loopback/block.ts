// Claims an address block by holding a listener on its lock address, so that two sandboxes on one
// machine never meet. The kernel frees it when the process ends, however it ends.
import { once } from 'node:events';
import net from 'node:net';
import { type Block, firstBlock, lastBlock, lockAddress, lockPort } from './addresses.ts';

export interface ClaimedBlock {
  readonly block: Block;
  release(): Promise<void>;
}

/** Claims `preferred` if it is free (the data of an earlier run name its addresses), else another. */
export async function claimBlock(preferred: Block | undefined): Promise<ClaimedBlock> {
  const count = lastBlock - firstBlock + 1;
  const start =
    preferred !== undefined && preferred >= firstBlock && preferred <= lastBlock
      ? preferred
      : firstBlock + (process.pid % count);
  for (let i = 0; i < count; i++) {
    const block = firstBlock + ((start - firstBlock + i) % count);
    const lock = await tryLock(block);
    if (lock) return { block, release: () => close(lock) };
  }
  throw new Error(`no free address block in 127.${firstBlock}.0.0 … 127.${lastBlock}.0.0`);
}

async function tryLock(block: Block): Promise<net.Server | undefined> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.destroy();
  });
  server.on('error', () => {});
  try {
    server.listen({ host: lockAddress(block), port: lockPort, exclusive: true });
    await once(server, 'listening');
    server.unref();
    return server;
  } catch {
    return undefined;
  }
}

const close = (server: net.Server): Promise<void> =>
  new Promise((done) => {
    server.close(() => done());
  });
