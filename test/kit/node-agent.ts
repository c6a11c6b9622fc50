// A scripted node agent: the server side of ZDS over a unix stream socket, one request at a time.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import { type Link, listenStream } from '../../core/zds/index.ts';

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
  let current: Link | undefined;
  let greeted = Promise.withResolvers<void>();
  const waiting: ((error: string) => void)[] = [];
  const server = await listenStream(path, (attach) => {
    let hello = false;
    const link = attach({
      message(message) {
        if (hello) {
          const { ack } = decode('istio.workload.zds.WorkloadResponse', message);
          waiting.shift()?.(ack?.error ?? '');
          return;
        }
        hello = decode('istio.workload.zds.ZdsHello', message).version === 1;
        greeted.resolve();
      },
      closed() {
        if (current === link) {
          current = undefined;
          greeted = Promise.withResolvers<void>();
        }
        for (const w of waiting.splice(0)) w('connection closed');
      },
    });
    current = link;
  });
  const raw = async (bytes: Uint8Array): Promise<string> => {
    await greeted.promise;
    const link = current;
    if (!link) return 'not connected';
    return new Promise((resolve) => {
      waiting.push(resolve);
      link.send(bytes);
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
    drop: () => current?.close(),
    async stop() {
      current?.close();
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
