// ZDS as Istio's own agent speaks it: packets with one descriptor for an `add`, none otherwise; nothing
// stays open for pods that came and went.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { listenSeqpacket, type SeqpacketConnection } from '../../core/linux/index.ts';
import { decode, encode } from '../../core/rpc/index.ts';
import { eventually } from '../kit/eventually.ts';
import { openPackets } from '../../core/zds/index.ts';
import { PodSource, type PodRequest } from '../../ztunnel/index.ts';
import { startNetnsMesh } from './mesh.ts';
import { skip, withNamespaces } from './ring.ts';

const info = (name: string) => ({ name, namespace: 'shop', serviceAccount: name });
const openFds = (): number => fs.readdirSync('/proc/self/fd').length;

test('Z-fds: two hundred pods come and go, and no descriptor stays', { skip }, async () => {
  const mesh = await startNetnsMesh();
  try {
    await withNamespaces(1, async (a) => {
      const come = async (i: number): Promise<void> => {
        const pod = { uid: `pod-${i}`, ...info(`p${i}`), netnsFd: a.fd };
        await mesh.zds.add(pod);
        await mesh.zds.add(pod); // the same again is no news
        await mesh.zds.remove(pod.uid, 0);
      };
      await come(0);
      const before = await eventually(() => openFds());
      for (let i = 1; i <= 200; i++) await come(i);
      await eventually(() => openFds() <= before, 'no more descriptors than before');
    });
  } finally {
    await mesh.stop();
  }
});

test('Z-wire: hello, descriptors counted, one answer for each request', { skip }, async () => {
  const dir = fs.mkdtempSync(path.join(tmpdir(), 'ambient-zds-'));
  const socket = path.join(dir, 'zds.sock');
  const connections: SeqpacketConnection[] = [];
  const answers: string[] = [];
  let hellos = 0;
  const server = listenSeqpacket(socket, (connection) => {
    connections.push(connection);
    let greeted = false;
    connection.on({
      packet: ({ bytes }) => {
        if (greeted) {
          const { ack } = decode('istio.workload.zds.WorkloadResponse', bytes);
          answers.push(ack?.error ?? 'no ack');
        } else hellos += decode('istio.workload.zds.ZdsHello', bytes).version;
        greeted = true;
      },
      close: () => {},
    });
  });
  const seen: PodRequest[] = [];
  const fatal: string[] = [];
  const source = new PodSource({
    path: socket,
    open: openPackets,
    namespaces: true,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    connected: () => {},
    disconnected: () => {},
    fatal: (why) => fatal.push(why),
    handle: async (request) => {
      seen.push(request);
      if (request.kind === 'add') request.pod.netns?.close();
      return {};
    },
  });
  source.start();
  try {
    await eventually(() => hellos === 1, 'a hello');
    const fd = fs.openSync('/proc/self/ns/net', 'r');
    const add = encode('istio.workload.zds.WorkloadRequest', {
      add: { uid: 'u1', workloadInfo: info('a') },
    });
    assert.ok(connections[0]?.send(add, fd));
    await eventually(() => answers.length === 1, 'an ack');
    assert.deepEqual(answers, ['']);
    assert.equal(seen[0]?.kind === 'add' && seen[0].pod.netns?.id !== undefined, true);
    assert.ok(connections[0]?.send(add));
    await eventually(() => answers.length === 2, 'a refusal');
    assert.match(answers[1] ?? '', /0 descriptors where 1 belong/);
    await eventually(() => hellos === 2, 'a new connection after the broken one');
    const snapshot = encode('istio.workload.zds.WorkloadRequest', { snapshotSent: {} });
    assert.ok(connections[1]?.send(snapshot, fd));
    await eventually(() => answers.length === 3, 'a refusal');
    assert.match(answers[2] ?? '', /1 descriptors where 0 belong/);
    await eventually(() => hellos === 3, 'and another');
    const bare = encode('istio.workload.zds.WorkloadRequest', { add: { uid: 'u2' } });
    assert.ok(connections[2]?.send(bare, fd));
    await eventually(() => fatal.length === 1, '9.2: the process is told to end');
    await eventually(() => answers.length === 4, 'after the refusal');
    assert.deepEqual([fatal, answers[3]], [['add without workload info'], fatal[0]]);
    fs.closeSync(fd);
  } finally {
    source.stop();
    for (const c of connections) c.close();
    await server.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
