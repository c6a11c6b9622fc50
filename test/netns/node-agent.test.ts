// The life of a node agent and of the pods it looks after: the real agent at a real API (the sandbox's), ztunnel
// in `shared` mode, and pods as namespaces whose objects are written here as a kubelet would.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join as path } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Log, silentLog } from '../../core/base/index.ts';
import { connectKube, resources } from '../../core/kube/index.ts';
import { openPacketTap, type PacketTap } from '../../core/linux/index.ts';
import { redirectionKey } from '../../core/model/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { createLog } from '../../core/telemetry/index.ts';
import { NodeAgent, readConfig, recordFinder } from '../../node-agent/index.ts';
import { type ApiServer, startApiServer } from '../kit/api-server.ts';
import { eventually } from '../kit/eventually.ts';
import { testWorkload } from '../kit/mesh.ts';
import { removeNow } from '../kube/kit.ts';
import { type NetnsMesh, startNetnsMesh } from './mesh.ts';
import { join, skip, type TestNamespace, withNamespaces } from './ring.ts';

const app = `
import http.server, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        if self.path == '/open':
            self.send_response(200)
            self.end_headers()
            time.sleep(60)
        text = ('canary for %s' % self.client_address[0]).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8080), H).serve_forever()
`;

describe('the node agent', { skip, timeout: 120_000 }, () => {
  let api: ApiServer;
  let mesh: NetnsMesh;
  let agent: NodeAgent | undefined;
  let records: string;
  let a: TestNamespace;
  let b: TestNamespace;
  let c: TestNamespace;
  let tap: PacketTap;
  let end: () => void = () => {};
  let ended: Promise<void> = Promise.resolve();
  const apps = new Set<ChildProcess>();

  const serve = (ns: TestNamespace): ChildProcess => {
    const child = spawn('ip', ['netns', 'exec', ns.name, 'python3', '-c', app], {
      stdio: 'inherit',
    });
    apps.add(child);
    return child;
  };
  const gone = (child: ChildProcess): Promise<void> => {
    const over = new Promise<void>((done) => child.once('exit', () => done()));
    child.kill('SIGKILL');
    apps.delete(child);
    return over;
  };
  const curl = (ns = a, url = 'http://10.9.0.2:8080/') =>
    ns.run('curl', '-s', '-S', '-m', '5', url);
  const listening = async (ns: TestNamespace): Promise<boolean> =>
    /:15008/.test((await ns.run('ss', '-Hltn')).out);
  const rulesOf = async (ns: TestNamespace): Promise<string> =>
    (await ns.run('nft', 'list', 'ruleset')).out;
  const makeAgent = async (kubeconfig: string, log: Log = silentLog): Promise<NodeAgent> => {
    const { config } = readConfig({ NODE_NAME: 'n1', ZDS_SOCKET: mesh.socket });
    if (!config.ok) throw new Error(JSON.stringify(config.faults));
    const deps = { clock: systemClock, random: systemRandom, log };
    const kube = await connectKube({ kubeconfig, ...deps });
    return new NodeAgent(config.value, {
      kube,
      finder: recordFinder(records),
      ready: () => {},
      ...deps,
    });
  };
  const startAgent = async (): Promise<void> => {
    agent = await makeAgent(api.kubeconfig);
    await agent.start();
  };
  /** A request that is answered, with nothing of it on the wire. */
  const encrypted = async (): Promise<void> => {
    tap.take();
    await eventually(async () => (await curl()).out === 'canary for 10.9.0.1', 'an answer');
    const packets = tap.take();
    assert.ok(packets.some((p) => p.includes(Buffer.from([0x17, 3, 3]))));
    assert.ok(!packets.some((p) => p.includes('canary')));
  };
  /** Descriptors of this process, proxy and agent included, that are this very namespace. */
  const handlesOf = (ns: TestNamespace): number => {
    const target = (fd: string | number): string => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return 'closed meanwhile';
      }
    };
    return readdirSync('/proc/self/fd').filter((fd) => target(fd) === target(ns.fd)).length;
  };
  /** The pod's object as the kubelet writes it; its namespace on record. */
  const pod = async (name: string, ns: TestNamespace, ip: string, namespace = 'shop') => {
    const status = running(ip);
    const made = await api.kube.create(resources.pods, {
      metadata: { name, namespace },
      spec: { nodeName: 'n1', serviceAccountName: name, containers: [{ name: 'c', image: 'x' }] },
    });
    const uid = made.metadata.uid ?? '';
    symlinkSync(`/run/netns/${ns.name}`, path(records, uid));
    await api.kube.patch(resources.pods, namespace, name, { status }, statusPatch);
    if (namespace === 'shop') mesh.feed.apply({ workloads: [testWorkload(name, ip)] });
    return uid;
  };
  /** What the kubelet does when the last container of a pod has ended. */
  const ends = (name: string): Promise<void> =>
    removeNow(api, resources.pods, { metadata: { name, namespace: 'shop' } });
  const annotation = async (name: string, namespace = 'shop'): Promise<string | undefined> =>
    (await api.kube.get(resources.pods, namespace, name))?.metadata.annotations?.[redirectionKey];
  const enrolled = (...names: string[]): Promise<unknown> =>
    eventually(async () => {
      for (const name of names) if ((await annotation(name)) !== 'enabled') return false;
      return true;
    }, `${names.join()} enrolled`);

  before(async () => {
    api = await startApiServer('sandbox');
    records = path(api.dir, 'netns');
    mkdirSync(records);
    mesh = await startNetnsMesh({}, undefined, false);
    for (const name of ['shop', 'kube-system']) {
      const labels = { 'istio.io/dataplane-mode': 'ambient' };
      if (!(await api.kube.get(resources.namespaces, undefined, name)))
        await api.kube.create(resources.namespaces, { metadata: { name } });
      await api.kube.patch(resources.namespaces, undefined, name, { metadata: { labels } }, merge);
    }
    const ready = Promise.withResolvers<void>();
    ended = withNamespaces(3, async (...all) => {
      [a, b, c] = all as [TestNamespace, TestNamespace, TestNamespace];
      await join(a, b);
      serve(b);
      await eventually(async () => (await curl()).code === 0, 'the app');
      const done = new Promise<void>((over) => {
        end = over;
      });
      ready.resolve();
      await done;
      for (const child of apps) await gone(child);
    });
    ended.catch((error: unknown) => ready.reject(error));
    await ready.promise;
    const { out } = await b.run('cat', '/sys/class/net/eth0/ifindex');
    tap = openPacketTap(b.fd, Number(out));
    await pod('client', a, '10.9.0.1');
  });
  after(async () => {
    tap?.close();
    await agent?.stop();
    await mesh.stop();
    end();
    await ended;
    await api.stop();
  });

  test('K38: without credentials it waits, with them it goes on; excluded namespaces are never captured', async () => {
    await pod('dns', c, '10.9.0.9', 'kube-system');
    const lines: string[] = [];
    const log = createLog('agent', { write: (line) => void lines.push(line) });
    const revoked = api.kubeconfigOf('revoked', 'no-token-any-more');
    const without = await makeAgent(revoked, log);
    let started = false;
    void without.start().then(() => {
      started = true;
    });
    await eventually(() => lines.some((l) => l.includes('list failed')), 'it was refused');
    assert.equal(started, false);
    assert.equal(await rulesOf(a), '', 'nothing is done without knowing');
    await without.stop();
    await startAgent();
    await enrolled('client');
    assert.match(await rulesOf(a), /redirect to :15001/);
    assert.equal(await annotation('dns', 'kube-system'), undefined);
    assert.equal(await rulesOf(c), '');
  });

  test('K37: without the agent the pods keep their traffic, in mutual TLS', async () => {
    await pod('server', b, '10.9.0.2');
    await enrolled('client', 'server');
    await encrypted();
    await agent?.stop();
    agent = undefined;
    await eventually(async () => !(await mesh.ready()), 'ztunnel knows');
    await encrypted();
  });

  test('K39: a pod that started while the agent was away is enrolled when it is back', async () => {
    const late = await pod('late', c, '10.9.0.3');
    assert.equal(await rulesOf(c), '');
    // One that says it is enrolled, and whose namespace was made anew meanwhile (a node that started again).
    await b.run('nft', 'flush', 'ruleset');
    await startAgent();
    await enrolled('client', 'server', 'late');
    assert.match(await rulesOf(c), /redirect to :15001/);
    await eventually(async () => (await rulesOf(b)).includes(':15006'), 'rules that were lost');
    await eventually(() => listening(c), 'its proxy');
    await encrypted();
    await ends('late');
    await eventually(async () => !(await listening(c)), 'and it is let go');
    rmSync(path(records, late));
  });

  test('F19: the same pod with another network namespace: the newest wins, the old is let go', async () => {
    const uid = await pod('twice', c, '10.9.0.4');
    await enrolled('twice');
    await eventually(() => listening(c), 'in the first namespace');
    const ours = 1;
    assert.ok(handlesOf(c) > ours, 'the proxy holds it');
    await withNamespaces(1, async (d) => {
      rmSync(path(records, uid));
      symlinkSync(`/run/netns/${d.name}`, path(records, uid));
      // A container that starts again is no news; one that does so in another namespace is.
      const status = running('10.9.0.4', 1);
      await api.kube.patch(resources.pods, 'shop', 'twice', { status }, statusPatch);
      await eventually(() => listening(d), 'in the second');
      await eventually(async () => !(await listening(c)), 'not in the first');
      await eventually(async () => (await rulesOf(d)).includes(':15001'), 'its rules');
      assert.equal(await annotation('twice'), 'enabled');
      await eventually(() => handlesOf(c) === ours, 'no handle of the first is kept');
      await ends('twice');
      await eventually(async () => !(await listening(d)), 'gone');
    });
  });

  test('F18: a pod that ends is served until its containers have ended; then its callers fail at once', async () => {
    await api.kube.remove(resources.pods, 'shop', 'server');
    const ending = await api.kube.get(resources.pods, 'shop', 'server');
    assert.ok(ending?.metadata.deletionTimestamp, 'it is being deleted');
    await encrypted();
    const open = a.run('curl', '-s', '-S', '-m', '15', '-N', 'http://10.9.0.2:8080/open');
    await eventually(async () => (await mesh.live()) > 0, 'a connection that stays');
    await ends('server');
    await eventually(async () => !(await listening(b)), 'its listeners are closed');
    assert.notEqual((await open).code, 28, 'cut, not left hanging');
    const { code, err } = await curl();
    assert.ok([7, 56].includes(code), `${code} ${err}`);
  });

  test('F18: a pod whose containers have all ended leaves; its mark goes even if its namespace is gone', async () => {
    const uid = await pod('job', c, '10.9.0.5');
    await enrolled('job');
    const status = { ...running('10.9.0.5'), phase: 'Succeeded' };
    await agent?.stop();
    rmSync(path(records, uid));
    await api.kube.patch(resources.pods, 'shop', 'job', { status }, statusPatch);
    await startAgent();
    await eventually(async () => (await annotation('job')) === undefined, 'no mark');
    await eventually(async () => !(await listening(c)), 'no proxy');
  });
});

const running = (ip: string, restarts = 0) => ({
  phase: 'Running',
  podIP: ip,
  podIPs: [{ ip }],
  containerStatuses: [
    {
      name: 'c',
      image: 'x',
      imageID: 'x',
      ready: true,
      restartCount: restarts,
      containerID: `test://${restarts}`,
    },
  ],
});
const merge = { kind: 'merge' } as const;
const statusPatch = { kind: 'merge', subresource: 'status' } as const;
