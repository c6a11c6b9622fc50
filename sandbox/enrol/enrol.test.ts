import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { silentLog } from '../../core/base/index.ts';
import { decode, encode } from '../../core/rpc/index.ts';
import { parseSync, systemClock } from '../../core/runtime/index.ts';
import { FrameReader, frame, listenStream, type ZdsPod, ZdsServer } from '../../core/zds/index.ts';
import type { Pod } from '../objects.ts';
import { isWanted } from './decide.ts';

const pod = (
  labels: Record<string, string> = {},
  more: {
    namespace?: string;
    annotations?: Record<string, string>;
    host?: boolean;
    phase?: string;
  } = {},
): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    namespace: more.namespace ?? 'default',
    labels,
    ...(more.annotations ? { annotations: more.annotations } : {}),
  },
  spec: { containers: [], ...(more.host ? { hostNetwork: true } : {}) },
  status: { phase: more.phase ?? 'Running' },
});
const mode = 'istio.io/dataplane-mode';
const on = { [mode]: 'ambient' };
const off = { [mode]: 'none' };

const table: readonly [string, Pod, Record<string, string> | undefined, boolean][] = [
  ['nothing said', pod(), undefined, false],
  ['namespace', pod(), on, true],
  ['namespace none', pod(), off, false],
  ['pod alone', pod(on), undefined, true],
  ['pod against namespace none', pod(on), off, true],
  ['pod opts out', pod(off), on, false],
  ['host network', pod(on, { host: true }), on, false],
  [
    'mesh program',
    pod(on, { annotations: { 'sandbox.ambientlite.dev/network': 'host' } }),
    on,
    false,
  ],
  ['sidecar', pod(on, { annotations: { 'sidecar.istio.io/status': '{}' } }), on, false],
  ['kube-system', pod(on, { namespace: 'kube-system' }), on, false],
  ['ztunnel itself', pod({ ...on, app: 'ztunnel' }, { namespace: 'istio-system' }), on, false],
  ['finished', pod(on, { phase: 'Succeeded' }), on, false],
];
for (const [name, p, namespace, expected] of table) {
  test(`enrolled: ${name} → ${expected}`, () => assert.equal(isWanted(p, namespace), expected));
}

test('sync answers are read, others are none', () => {
  assert.deepEqual(parseSync('{"revision":4,"synced":true,"clients":[]}'), {
    revision: 4,
    synced: true,
  });
  for (const text of ['', '[]', 'null', '{"synced":1}']) assert.equal(parseSync(text), undefined);
});

const workload: ZdsPod = {
  uid: 'u1',
  name: 'p',
  namespace: 'default',
  serviceAccount: 'sa',
  addresses: ['127.64.0.20'],
};

test('ZDS: hello, snapshot, add, nack, del, one after the other', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'zds-'));
  const connected = Promise.withResolvers<void>();
  const server = new ZdsServer({
    path: path.join(dir, 's'),
    listen: listenStream,
    clock: systemClock,
    log: silentLog,
    snapshot: () => [workload],
    connected: (is) => is && connected.resolve(),
  });
  await server.start();
  t.after(async () => {
    await server.stop();
    fs.rmSync(dir, { recursive: true });
  });
  await assert.rejects(server.add(workload), /no ztunnel/);
  const socket = net.connect(path.join(dir, 's'));
  socket.on('error', () => {});
  await once(socket, 'connect');
  const heard: string[] = [];
  const reader = new FrameReader();
  socket.on('data', (chunk) => {
    for (const message of reader.push(chunk as Buffer) ?? []) {
      const request = decode('istio.workload.zds.WorkloadRequest', message);
      const { add, del } = request;
      heard.push(
        add
          ? `add ${add.uid} ${add.workloadInfo?.addresses.join()}`
          : del
            ? `del ${del.uid} ${del.drainMs}`
            : 'end',
      );
      const error = add?.uid === 'bad' ? 'the port is taken' : '';
      socket.write(frame(encode('istio.workload.zds.WorkloadResponse', { ack: { error } })));
    }
  });
  socket.write(frame(encode('istio.workload.zds.ZdsHello', { version: 1 })));
  await connected.promise;
  await assert.rejects(server.add({ ...workload, uid: 'bad' }), /the port is taken/);
  await Promise.all([server.add({ ...workload, uid: 'u2' }), server.remove('u1', 5_000)]);
  assert.deepEqual(heard, [
    'add u1 127.64.0.20',
    'end',
    'add bad 127.64.0.20',
    'add u2 127.64.0.20',
    'del u1 5000',
  ]);
  socket.destroy();
  await once(socket, 'close');
  while (server.isConnected) await new Promise((done) => setImmediate(done));
  await assert.rejects(server.add(workload), /no ztunnel/);
});
