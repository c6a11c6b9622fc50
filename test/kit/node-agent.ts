// A scripted node agent: the server side of ZDS over a unix stream socket, one request at a time.
import net from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';

export interface ScriptedPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly addresses: readonly string[];
}

type Request = Draft<{
  add?: { uid: string; workloadInfo: Omit<ScriptedPod, 'uid'> };
  del?: { uid: string; drainMs: number };
  keep?: { uid: string };
  snapshotSent?: Record<string, never>;
}>;

export interface NodeAgent {
  readonly path: string;
  /** Resolves with the error text of the ack; empty = success. */
  add(pod: ScriptedPod): Promise<string>;
  del(uid: string, drainMs?: number): Promise<string>;
  snapshot(): Promise<string>;
  /** Resolves when a proxy has said hello. */
  hello(): Promise<void>;
  /** Sends raw bytes as one frame. */
  raw(bytes: Uint8Array): Promise<string>;
  /** Drops the connection; the proxy will come back. */
  drop(): void;
  stop(): Promise<void>;
}

export async function startNodeAgent(): Promise<NodeAgent> {
  const dir = await mkdtemp(join(tmpdir(), 'ambient-zds-'));
  const path = join(dir, 'zds.sock');
  let current: net.Socket | undefined;
  let greeted = Promise.withResolvers<void>();
  const waiting: ((error: string) => void)[] = [];
  const server = net.createServer((socket) => {
    current = socket;
    let rest: Buffer = Buffer.alloc(0);
    let hello = false;
    socket.on('error', () => {});
    socket.on('close', () => {
      if (current === socket) {
        current = undefined;
        greeted = Promise.withResolvers<void>();
      }
      for (const w of waiting.splice(0)) w('connection closed');
    });
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
        const length = rest.readUInt32BE(0);
        const message = rest.subarray(4, 4 + length);
        rest = rest.subarray(4 + length);
        if (!hello) {
          hello = decode('istio.workload.zds.ZdsHello', message).version === 1;
          greeted.resolve();
        } else {
          waiting.shift()?.(
            decode('istio.workload.zds.WorkloadResponse', message).ack?.error ?? '',
          );
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const raw = async (bytes: Uint8Array): Promise<string> => {
    await greeted.promise;
    const socket = current;
    if (!socket) return 'not connected';
    const head = Buffer.alloc(4);
    head.writeUInt32BE(bytes.length);
    return new Promise((resolve) => {
      waiting.push(resolve);
      socket.write(Buffer.concat([head, bytes]));
    });
  };
  const send = (request: Request): Promise<string> =>
    raw(encode('istio.workload.zds.WorkloadRequest', request as never));
  return {
    path,
    add: ({ uid, ...workloadInfo }) => send({ add: { uid, workloadInfo } }),
    del: (uid, drainMs = 0) => send({ del: { uid, drainMs } }),
    snapshot: () => send({ snapshotSent: {} }),
    hello: () => greeted.promise,
    raw,
    drop: () => current?.destroy(),
    async stop() {
      current?.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(dir, { recursive: true, force: true });
    },
  };
}
