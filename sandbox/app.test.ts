// A whole sandbox with real programs as pods, without the mesh programs: a stand-in for ztunnel
// shows what they would be told and sent.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { silentLog } from '../core/base/index.ts';
import { seccompNotifyAvailable } from '../core/linux/index.ts';
import { decode, encode } from '../core/rpc/index.ts';
import { FrameReader, frame } from '../core/zds/index.ts';
import { type Sandbox, startSandbox } from './app.ts';
import type { KubeObject } from './contract.ts';
import { as, type Deployment, isReady, keys, type Pod, type Service } from './objects.ts';
import { readState, readStatus } from './state.ts';

const available = seccompNotifyAvailable();
const skip = available.ok ? false : `seccomp user notification: ${available.reason}`;

const serve =
  `require('http').createServer((q,r)=>r.end(process.env.WHO+' '+q.socket.remoteAddress+` +
  `' '+q.socket.localAddress+'\\n')).listen(8080,()=>console.log('listening'))`;

function deployment(name: string, container: object, replicas = 1): KubeObject {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'app', image: 'none', ...container }] },
      },
    },
  };
}

const service = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
});

/** Asks again until it holds; bounded. */
async function eventually<T>(
  what: string,
  ask: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const until = Date.now() + 20_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > until) throw new Error(`never came: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

class Rig {
  readonly sandbox: Sandbox;

  constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
  }

  pods(app: string): Pod[] {
    const { store } = this.sandbox;
    const labelSelector = `app=${app}`;
    return store.list(keys.pods, { namespace: 'default', labelSelector }).items.map(as<Pod>);
  }

  ready(app: string): Promise<Pod> {
    return eventually(`${app} ready`, () => this.pods(app).find((p) => isReady(p)));
  }

  async exec(pod: Pod, command: string[]): Promise<{ out: string; err: string; code: number }> {
    const session = await this.sandbox.runtime.exec('default', pod.metadata.name, {
      command,
      stdin: false,
      tty: false,
    });
    const [out, err, code] = await Promise.all([
      text(session.stdout),
      text(session.stderr),
      session.exit,
    ]);
    return { out, err, code };
  }

  /** An HTTP request from inside a pod. */
  async fetch(pod: Pod, url: string): Promise<string> {
    const code = `fetch('${url}',{signal:AbortSignal.timeout(4000)}).then(r=>r.text()).then(t=>process.stdout.write(t),e=>process.stdout.write(e.cause?.code??e.name))`;
    return (await this.exec(pod, ['node', '-e', code])).out.trim().replaceAll('::ffff:', '');
  }
}

async function start(dir: string): Promise<Rig> {
  return new Rig(await startSandbox({ dir, driver: 'loopback', log: silentLog, mesh: false }));
}

test('a sandbox with two pods, in and out of the mesh', { skip, timeout: 120_000 }, async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-'));
  let rig = await start(dir);
  t.after(async () => {
    await rig.sandbox.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });
  const { store } = rig.sandbox;
  const web = deployment('web', {
    command: ['node', '-e', serve],
    env: [{ name: 'WHO', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    ports: [{ containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
  });
  store.create(keys.deployments, web);
  store.create(keys.services, service('web'));
  store.create(keys.deployments, deployment('client', { command: ['sleep', '1000'] }));
  const server = await rig.ready('web');
  const client = await rig.ready('client');
  const ipOf = (pod: Pod): string => pod.status?.podIP ?? '';
  const vip = await eventually(
    'a cluster IP with endpoints',
    () =>
      store.list(keys.endpointSlices, { labelSelector: 'kubernetes.io/service-name=web' }).items
        .length > 0 &&
      as<Service>(store.get(keys.services, 'default', 'web') as KubeObject).spec.clusterIP,
  );
  assert.match(String(vip), /^127\.\d+\.128\./);
  const plain = `${server.metadata.name} ${ipOf(client)} ${ipOf(server)}`;

  await t.test('they talk by service name and by address, in plaintext', async () => {
    for (const host of [
      'web',
      'web.default.svc.cluster.local',
      String(vip),
      `${ipOf(server)}:8080`,
    ]) {
      const got = await eventually(`an answer from ${host}`, async () => {
        const answer = await rig.fetch(client, `http://${host}/`);
        return answer === plain ? answer : undefined;
      });
      assert.equal(got, plain);
    }
  });

  await t.test('logs, status and the files others find it by', async () => {
    const logs = rig.sandbox.runtime.logs('default', server.metadata.name, {});
    assert.equal(await text(logs), 'listening\n');
    const status = await readStatus(dir);
    const row = status.pods.find((p) => p.name === server.metadata.name);
    assert.equal(row?.ip, ipOf(server));
    assert.equal(row.ready, true);
    assert.equal(row.enrolled, false);
    assert.equal(`process://${row.pid}`, server.status?.containerStatuses?.[0]?.containerID);
    assert.equal(readState(dir)?.pid, process.pid);
    assert.ok(fs.existsSync(path.join(dir, 'kubeconfig')));
    // The state file is written last: whoever finds it may ask at once.
    const changed = (name: string): bigint =>
      fs.statSync(path.join(dir, name), { bigint: true }).ctimeNs;
    for (const name of ['sandbox.sock', 'kubeconfig']) {
      assert.ok(changed(name) <= changed('state.json'), name);
    }
    await assert.rejects(start(dir), /already runs/);
  });

  await t.test('into the mesh and out of it, in order', async () => {
    const ztunnel = new StandIn(path.join(dir, 'ztunnel.sock'));
    await ztunnel.connect();
    const uids = [server, client].map((p) => p.metadata.uid ?? '');
    setMode(store, 'ambient');
    await eventually('both enrolled', async () => {
      const { pods } = await readStatus(dir);
      return pods.filter((p) => p.enrolled).length === 2 ? true : undefined;
    });
    assert.deepEqual(ztunnel.heard.slice(0, 1), ['snapshot']);
    assert.deepEqual(ztunnel.heard.slice(1).toSorted(), uids.map((u) => `add ${u}`).toSorted());
    for (const pod of [server, client]) {
      const now = store.get(keys.pods, 'default', pod.metadata.name);
      assert.equal(now?.metadata.annotations?.['ambient.istio.io/redirection'], 'enabled');
      assert.equal(as<Pod>(now).status?.containerStatuses?.[0]?.restartCount, 0);
    }
    // Nobody listens on 15001: no plaintext, a refusal.
    assert.equal(await rig.fetch(client, 'http://web/'), 'ECONNREFUSED');
    const listener = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (chunk) => {
        const to = [...chunk.subarray(20, 24)].join('.');
        const body = `tunnel to ${to}:${chunk.readUInt16BE(26)} from ${socket.remoteAddress}`;
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      });
    });
    listener.listen(15001, ipOf(client));
    await once(listener, 'listening');
    const expected = `tunnel to ${String(vip)}:80 from ${ipOf(client)}`;
    assert.equal(await rig.fetch(client, 'http://web/'), expected);
    listener.close();

    setMode(store, undefined);
    await eventually('both out', () => (ztunnel.heard.length >= 5 ? true : undefined));
    assert.deepEqual(
      ztunnel.heard.slice(3).toSorted(),
      uids.map((u) => `del ${u} 5000`).toSorted(),
    );
    const after = store.get(keys.pods, 'default', client.metadata.name);
    assert.equal(after?.metadata.annotations?.['ambient.istio.io/redirection'], undefined);
    assert.equal(await rig.fetch(client, 'http://web/'), plain);
    ztunnel.close();
  });

  await t.test(
    'a container that ends is started again; one without command is not run',
    async () => {
      store.create(keys.deployments, deployment('crash', { command: ['sh', '-c', 'exit 3'] }));
      store.create(keys.deployments, deployment('image', {}));
      const crashed = await eventually('a restart', () => {
        const pod = rig.pods('crash')[0];
        return pod?.status?.containerStatuses?.[0]?.restartCount ? pod : undefined;
      });
      const status = crashed.status?.containerStatuses?.[0];
      assert.equal(status?.lastState.terminated?.exitCode, 3);
      const reason = await eventually(
        'the reason',
        () => rig.pods('image')[0]?.status?.containerStatuses?.[0]?.state.waiting?.reason,
      );
      assert.equal(reason, 'CreateContainerError');
    },
  );

  await t.test('rollout, scale and deletion', async () => {
    const old = server.metadata.name;
    store.modify(keys.deployments, 'default', 'web', (o) => {
      const { template } = as<Deployment>(o).spec;
      template.metadata = { ...template.metadata, annotations: { restartedAt: 'now' } };
    });
    await eventually('the new pod alone', () => {
      const pods = rig.pods('web');
      return pods.length === 1 && pods.every((p) => p.metadata.name !== old && isReady(p))
        ? true
        : undefined;
    });
    for (const name of ['web', 'crash', 'image']) store.remove(keys.deployments, 'default', name);
    await eventually('no pods', () =>
      ['web', 'crash', 'image'].every((a) => rig.pods(a).length === 0) ? true : undefined,
    );
  });

  await t.test('the data survive a restart; pods are started again', async () => {
    await rig.sandbox.stop();
    assert.equal(readState(dir), undefined);
    rig = await start(dir);
    const again = await rig.ready('client');
    assert.equal(again.metadata.name, client.metadata.name);
    assert.equal(again.status?.podIP, client.status?.podIP);
    assert.equal(again.status?.containerStatuses?.[0]?.restartCount, 1);
  });
});

test('without seccomp: curl and Node go by the environment', { timeout: 60_000 }, async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-'));
  const options = {
    dir,
    driver: 'loopback',
    log: silentLog,
    mesh: false,
    capture: 'preload',
  } as const;
  const rig = new Rig(await startSandbox(options));
  t.after(async () => {
    await rig.sandbox.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });
  const { store } = rig.sandbox;
  assert.equal(rig.sandbox.status().means, 'preload');
  const env = [{ name: 'WHO', value: 'web' }];
  const readinessProbe = { httpGet: { port: 8080 }, periodSeconds: 1 };
  store.create(
    keys.deployments,
    deployment('web', { command: ['node', '-e', serve], env, readinessProbe }),
  );
  store.create(keys.services, service('web'));
  store.create(keys.deployments, deployment('client', { command: ['sleep', '1000'] }));
  const server = await rig.ready('web');
  const client = await rig.ready('client');
  const plain = `web ${client.status?.podIP} ${server.status?.podIP}`;
  const answered = (ask: () => Promise<string>): Promise<string> =>
    eventually('an answer', async () => ((await ask()) === plain ? plain : undefined));
  await answered(() => rig.fetch(client, 'http://web/'));
  const curl = ['sh', '-c', 'command -v curl >/dev/null && curl -sS -m 5 http://web/ || echo none'];
  const { out } = await rig.exec(client, curl);
  assert.ok(['none', plain].includes(out.trim().replaceAll('::ffff:', '')), out);
});

test('F17: a pod of the mesh waits for ztunnel, and starts when it is there', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-'));
  const rig = await start(dir);
  t.after(async () => {
    await rig.sandbox.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });
  const { store } = rig.sandbox;
  setMode(store, 'ambient');
  store.create(keys.deployments, deployment('client', { command: ['sleep', '1000'] }));
  const why = await eventually('the reason', () =>
    store.list(keys.events).items.find((e) => e['reason'] === 'WaitingForMesh'),
  );
  assert.equal(why['type'], 'Warning');
  assert.equal(rig.pods('client')[0]?.status?.phase, 'Pending');
  const ztunnel = new StandIn(path.join(dir, 'ztunnel.sock'));
  await ztunnel.connect();
  const pod = await rig.ready('client');
  assert.equal(pod.metadata.annotations?.['ambient.istio.io/redirection'], 'enabled');
  assert.equal(rig.sandbox.status().pods[0]?.enrolled, true);
  ztunnel.close();
});

function setMode(store: Sandbox['store'], mode: string | undefined): void {
  store.modify(keys.namespaces, undefined, 'default', (o) => {
    const { 'istio.io/dataplane-mode': _old, ...rest } = o.metadata.labels ?? {};
    o.metadata.labels = mode === undefined ? rest : { ...rest, 'istio.io/dataplane-mode': mode };
  });
}

/** Acknowledges whatever it is told, and remembers it. */
class StandIn {
  readonly heard: string[] = [];
  readonly #path: string;
  #socket: net.Socket | undefined;

  constructor(socketPath: string) {
    this.#path = socketPath;
  }

  async connect(): Promise<void> {
    const socket = net.connect(this.#path);
    this.#socket = socket;
    socket.on('error', () => {});
    await once(socket, 'connect');
    const frames = new FrameReader();
    socket.write(frame(encode('istio.workload.zds.ZdsHello', { version: 1 })));
    socket.on('data', (chunk) => {
      for (const message of frames.push(chunk as Buffer) ?? []) {
        const request = decode('istio.workload.zds.WorkloadRequest', message);
        if (request.add) this.heard.push(`add ${request.add.uid}`);
        else if (request.del) this.heard.push(`del ${request.del.uid} ${request.del.drainMs}`);
        else this.heard.push('snapshot');
        socket.write(frame(encode('istio.workload.zds.WorkloadResponse', { ack: { error: '' } })));
      }
    });
    await eventually('the snapshot', () => (this.heard.length > 0 ? true : undefined));
  }

  close(): void {
    this.#socket?.destroy();
  }
}
