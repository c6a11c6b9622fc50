// The sandbox on driver `netns` with two nodes: the life of an enrolled namespace with a request every
// 50 ms, what is on the wire between the nodes, STRICT, a proxy that dies, and nothing left behind.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RequestLoop } from '../../cli/index.ts';
import { Installer } from '../../cli/install/run.ts';
import { type KubeObject, resources } from '../../core/kube/index.ts';
import { openNamespace, openPacketTap, type PacketTap } from '../../core/linux/index.ts';
import { readState } from '../../sandbox/index.ts';
import { readManifests } from '../../sandbox/manifests.ts';
import { eventually } from '../kit/eventually.ts';
import { startSandbox, type TestSandbox } from '../kit/sandbox.ts';
import { skip } from './ring.ts';

const web = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
        - name: web
          command: [node, samples/bookinfo/src/details.ts]
          readinessProbe: {tcpSocket: {port: 9080}, periodSeconds: 1}
`;
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`;
const waypoint = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
${web
  .slice(web.indexOf('apiVersion: v1\nkind: Service\n'), web.indexOf('---\napiVersion: apps'))
  .replace('{name: web}', '{name: web, labels: {istio.io/use-waypoint: waypoint}}')}
`;

/** The mesh's manifests as the sandbox has them, of another version; proxies come before the old ones go. */
function nextBuild(): KubeObject[] {
  const { mesh } = readManifests(path.join(import.meta.dirname, '../../manifests'));
  return mesh.map((object) => {
    if (object.kind !== 'Deployment' && object.kind !== 'DaemonSet') return object;
    const next = structuredClone(object) as KubeObject & {
      spec: {
        updateStrategy?: unknown;
        template: {
          metadata: { labels: Record<string, string> };
          spec: { containers: { env: { name: string; value?: string }[] }[] };
        };
      };
    };
    next.spec.template.metadata.labels['app.kubernetes.io/version'] = 'next';
    for (const { env } of next.spec.template.spec.containers) {
      env.push({ name: 'ISTIO_META_ISTIO_VERSION', value: 'next' });
      for (const e of env) if (e.name === 'WAYPOINT_IMAGE') e.value = 'ambient-lite:next';
    }
    if (object.metadata.name === 'ztunnel')
      next.spec.updateStrategy = { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
    return next;
  });
}
const outside = `
apiVersion: v1
kind: Pod
metadata: {name: outside}
spec: {containers: [{name: c, command: [sleep, "600"]}]}
`;
const ipv6 = fs.existsSync('/proc/sys/net/ipv6/conf/all/disable_ipv6')
  ? false
  : 'this kernel has no IPv6';
const canary = 'canary-of-this-test';

describe('sandbox in namespaces, two nodes', { skip, timeout: 240_000 }, () => {
  let sandbox: TestSandbox;
  let loop: RequestLoop;
  let tap: PacketTap;
  let block: number;
  const namespaces = (): string[] =>
    fs.readdirSync('/run/netns').filter((name) => name.startsWith(`ambl${block}-`));
  const enrolled = async (): Promise<number> => {
    const { pods } = await sandbox.world.status();
    return pods.filter((p) => p.namespace === 'default' && p.enrolled).length;
  };
  const more = (count: number): Promise<unknown> => {
    const mark = loop.ok;
    return eventually(() => loop.ok >= mark + count, `${count} more requests`, 20_000);
  };
  const get = (pod: string, url: string, namespace = 'default') =>
    sandbox.world.exec(
      pod,
      [
        'curl',
        '-s',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        '-m',
        '5',
        '-H',
        `x-canary: ${canary}`,
        url,
      ],
      namespace,
    );
  const webPods = async () => {
    const { pods } = await sandbox.world.status();
    return pods.filter((p) => p.name.startsWith('web-'));
  };

  before(async () => {
    sandbox = await startSandbox({ driver: 'netns', nodes: 2 });
    block = readState(sandbox.dir)?.block ?? 0;
    await sandbox.world.applyText(web, 'web');
    await sandbox.world.applyFile('samples/curl/curl.yaml');
    await sandbox.world.applyText(
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n',
      'other',
    );
    await sandbox.world.applyText(outside, 'outside', 'other');
    await sandbox.world.available('default', 40_000);
    const node = openNamespace(`/run/netns/ambl${block}-sandbox-2`);
    const index = await sandbox.run(
      'ip',
      '-n',
      `ambl${block}-sandbox-2`,
      '-o',
      'link',
      'show',
      'up0',
    );
    tap = openPacketTap(node, Number.parseInt(index.out, 10));
    fs.closeSync(node);
    loop = await sandbox.world.loop('deploy/curl', 'http://web/details/0');
    await more(3);
  });

  after(async () => {
    loop?.stop();
    tap?.close();
    await sandbox.stop();
    assert.deepEqual(namespaces(), []);
  });

  test('pods are on both nodes, and talk in plaintext', async () => {
    const { nodes, driver } = await sandbox.world.status();
    assert.deepEqual([driver, nodes], ['netns', ['sandbox', 'sandbox-2']]);
    const places = new Set((await webPods()).map((p) => p.node));
    assert.equal(places.size, 2);
    tap.take();
    for (const { ip } of await webPods()) {
      assert.equal((await get('deploy/curl', `http://${ip}:9080/details/0`)).out, '200');
    }
    await eventually(
      () => tap.take().some((p) => p.includes(canary)),
      'plaintext on the node link',
    );
    const [own] = await webPods();
    for (let i = 0; i < 10; i++) {
      const { out } = await get(own?.name ?? '', 'http://web/details/0');
      assert.equal(out, '200', 'its own service, also when it is sent to itself');
    }
  });

  test('names come from the cluster’s DNS, in and out of the mesh; others are nobody’s', async () => {
    const getent = (pod: string, name: string, namespace?: string) =>
      sandbox.world.exec(pod, ['getent', 'ahostsv4', name], namespace);
    const hosts = await sandbox.world.exec('outside', ['cat', '/etc/hosts'], 'other');
    assert.doesNotMatch(hosts.out, /web/, 'not from a file');
    const { out: short } = await getent('deploy/curl', 'web');
    const { out: long } = await getent('outside', 'web.default', 'other');
    assert.match(short, /^10\./);
    assert.equal(long.split(' ')[0], short.split(' ')[0]);
    assert.notEqual((await getent('outside', 'web', 'other')).code, 0, 'not of that namespace');
    assert.notEqual((await getent('deploy/curl', 'example.com')).code, 0);
  });

  test('enrolment fails no request and restarts nothing; the wire shows TLS alone', async () => {
    const processes = await sandbox.world.processes('default');
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
    await sandbox.world.until('all enrolled', 20_000, async () => (await enrolled()) === 4);
    await more(10);
    assert.deepEqual(loop.failed, []);
    assert.deepEqual(await sandbox.world.processes('default'), processes);
    tap.take();
    for (const { ip } of await webPods()) {
      assert.equal((await get('deploy/curl', `http://${ip}:9080/details/0`)).out, '200');
      assert.equal((await get('deploy/curl', 'http://web/details/0')).out, '200');
    }
    const packets = tap.take();
    assert.ok(
      packets.some((p) => p.includes(Buffer.from([0x17, 3, 3]))),
      'TLS records',
    );
    assert.ok(!packets.some((p) => p.includes(canary)), 'nothing of the payload');
    const report = await sandbox.world.verify('deploy/curl', 'svc/web');
    assert.equal(report.verdict, 'mtls');
    const wire = report.evidence.find((e) => e.kind === 'packets')?.text ?? '';
    assert.match(wire, /^[1-9]\d* packets .* TLS record, nothing of the trace id/);
    const { out } = await sandbox.world.exec('deploy/curl', ['getent', 'ahostsv4', 'web']);
    assert.match(out, /^10\./, 'by the proxy');
    const other = await sandbox.world.exec('deploy/curl', ['getent', 'hosts', 'nobody.example']);
    assert.notEqual(other.code, 0);
  });

  test('F43: by IPv6 pod address and IPv6 service address: the same identities, the same refusal', {
    skip: ipv6,
  }, async () => {
    const pods = (await sandbox.world.kube.list(resources.pods, 'default')).items;
    const sixes = pods
      .filter((p) => p.metadata.name.startsWith('web-'))
      .flatMap((p) => (p['status'] as { podIPs?: { ip: string }[] }).podIPs ?? [])
      .flatMap(({ ip }) => (ip.includes(':') ? [ip] : []));
    assert.equal(sixes.length, 3);
    const service = await sandbox.world.kube.get(resources.services, 'default', 'web');
    const [, vip] = (service?.['spec'] as { clusterIPs?: string[] } | undefined)?.clusterIPs ?? [];
    assert.match(vip ?? '', /^fd0a:/);
    const { out: named } = await sandbox.world.exec(
      'outside',
      ['getent', 'ahostsv6', 'web.default'],
      'other',
    );
    assert.equal(named.split(' ')[0], vip, 'the cluster’s DNS knows it');
    const mine = await sandbox.world.exec('deploy/curl', ['getent', 'ahostsv6', 'web']);
    assert.equal(mine.out.split(' ')[0], vip, 'and the proxy’s');
    const urls = [
      ...sixes.map((ip) => `http://[${ip}]:9080/details/0`),
      `http://[${vip}]/details/0`,
    ];
    tap.take();
    for (const url of urls) assert.equal((await get('deploy/curl', url)).out, '200', url);
    const packets = tap.take().filter((p) => (p[0] ?? 0) >> 4 === 6);
    assert.ok(
      packets.some((p) => p.includes(Buffer.from([0x17, 3, 3]))),
      'TLS records in IPv6 between the nodes',
    );
    assert.ok(!packets.some((p) => p.includes(canary)), 'nothing of the payload');
    for (const url of urls) assert.equal((await get('outside', url, 'other')).out, '200', url);
    await sandbox.world.applyText(strict, 'strict');
    for (const url of urls) {
      await eventually(async () => (await get('outside', url, 'other')).code === 56, url);
      assert.equal((await get('deploy/curl', url)).out, '200', url);
    }
    await sandbox.world.kube.remove(resources.peerAuthentications, 'default', 'default');
    await eventually(
      async () => (await get('outside', urls[0] ?? '', 'other')).out === '200',
      'PERMISSIVE again',
    );
  });

  test('Z3: STRICT refuses plaintext by pod address and by service address', async () => {
    const [pod] = await webPods();
    const urls = [`http://${pod?.ip}:9080/details/0`, 'http://web.default/details/0'];
    for (const url of urls) assert.equal((await get('outside', url, 'other')).out, '200', url);
    await sandbox.world.applyText(strict, 'strict');
    for (const url of urls) {
      await eventually(async () => (await get('outside', url, 'other')).code === 56, url);
    }
    await more(5);
    assert.deepEqual(loop.failed, []);
    await sandbox.world.kube.remove(resources.peerAuthentications, 'default', 'default');
  });

  test('F15: a node proxy that is killed: traffic fails closed, then goes on', async () => {
    const { mesh } = await sandbox.world.status();
    tap.take();
    for (const { name, pid } of mesh) {
      if (name.startsWith('ztunnel') && pid !== undefined) process.kill(pid, 'SIGKILL');
    }
    await eventually(() => loop.failed.length > 0, 'a failed request');
    await more(10);
    assert.ok(!tap.take().some((p) => p.includes('GET /details')), 'nothing in clear');
    const codes = new Set(loop.failed.map((line) => line.split(' ')[1]));
    assert.ok(
      [...codes].every((c) => ['6', '7', '56', '52', '28'].includes(c ?? '')),
      [...codes].join(),
    );
    loop.failed.length = 0;
  });

  test('node agents restart: nothing happens to traffic', async () => {
    const { mesh } = await sandbox.world.status();
    const old = mesh.filter((m) => m.name.startsWith('node-agent'));
    for (const { pid } of old) if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await sandbox.world.until('node agents back', 20_000, async () => {
      const now = (await sandbox.world.status()).mesh.filter((m) =>
        m.name.startsWith('node-agent'),
      );
      return now.every((m) => m.ready && !old.some((o) => o.pid === m.pid));
    });
    await more(20);
    assert.deepEqual(loop.failed, []);
  });

  test('F16 M25 an upgrade to the next build fails no request: control plane, proxies, agents, waypoint', async () => {
    await sandbox.world.applyText(waypoint, 'waypoint');
    await sandbox.world.until('the waypoint is bound', 30_000, async () => {
      const service = await sandbox.world.kube.get(resources.services, 'default', 'web');
      const { conditions = [] } = (service?.['status'] ?? {}) as {
        conditions?: { type: string; status: string }[];
      };
      const report = await sandbox.world.verify('deploy/curl', 'svc/web').catch(() => undefined);
      return (
        conditions.some((c) => c.type === 'istio.io/WaypointBound' && c.status === 'True') &&
        report?.legs.length === 2
      );
    });
    await more(5);
    loop.failed.length = 0;
    const service = await sandbox.world.kube.get(resources.services, 'default', 'web');
    const { clusterIP } = (service?.['spec'] ?? {}) as { clusterIP?: string };
    const byAddress = await sandbox.world.loop('deploy/curl', `http://${clusterIP}/details/0`);
    const running = async (): Promise<Map<string, number | undefined>> => {
      const { mesh } = await sandbox.world.status();
      return new Map(mesh.map((m) => [m.name, m.pid]));
    };
    const before = await running();
    const said: string[] = [];
    await new Installer(sandbox.world.kube, {
      dryRun: false,
      force: false,
      wait: true,
      timeoutMs: 60_000,
      say: (line) => void said.push(line),
    }).install(nextBuild());
    await sandbox.world.until('every program is another process', 60_000, async () => {
      const now = await running();
      return now.size >= before.size && [...now.keys()].every((name) => !before.has(name));
    });
    await more(10);
    byAddress.stop();
    assert.ok(byAddress.ok > 50);
    assert.deepEqual(byAddress.failed, [], said.join('\n'));
    assert.deepEqual(loop.failed, [], 'by name, with a question of DNS each');
    const report = await sandbox.world.verify('deploy/curl', 'svc/web');
    assert.equal(report.verdict, 'mtls');
    assert.equal(report.legs.length, 2);
    await sandbox.world.kube.remove(resources.gateways, 'default', 'waypoint');
  });

  test('un-enrolment fails no request and leaves no rule', async () => {
    await sandbox.world.label('default', { 'istio.io/dataplane-mode': null });
    await sandbox.world.until('none enrolled', 20_000, async () => (await enrolled()) === 0);
    await more(10);
    assert.deepEqual(loop.failed, []);
    const pods = namespaces().filter((name) => /-(web|curl)-/.test(name));
    assert.equal(pods.length, 4);
    await eventually(
      async () => {
        for (const name of pods) {
          const { out } = await sandbox.run('ip', 'netns', 'exec', name, 'nft', 'list', 'ruleset');
          const listening = await sandbox.run('ip', 'netns', 'exec', name, 'ss', '-Hltn');
          const routes = await sandbox.run('ip', '-6', '-n', name, 'rule');
          if (out !== '' || /:150/.test(listening.out) || /0x111/.test(routes.out)) return false;
        }
        return true;
      },
      'no rule and no listener left',
      15_000,
    );
    assert.deepEqual(loop.failed, []);
  });
});

test('what a killed sandbox left is removed at the next start', {
  skip,
  timeout: 60_000,
}, async () => {
  const dir = fs.mkdtempSync(path.join(tmpdir(), 'ambient-killed-'));
  const main = path.join(import.meta.dirname, '../../sandbox/main.ts');
  const start = async () => {
    const child = spawn(process.execPath, [main, '--dir', dir, '--driver', 'netns', '--no-mesh'], {
      stdio: 'ignore',
    });
    const state = await eventually(
      () => {
        const found = readState(dir);
        return found?.pid === child.pid && found;
      },
      'a sandbox',
      30_000,
    ).catch((error: unknown) => {
      child.kill('SIGTERM'); // it takes away what it has made
      throw error;
    });
    const gone = new Promise((done) => child.once('exit', done));
    return { child, gone, block: state.block };
  };
  const left = (block: number): string[] =>
    fs.readdirSync('/run/netns').filter((name) => name.startsWith(`ambl${block}-`));
  const first = await start();
  first.child.kill('SIGKILL');
  await first.gone;
  assert.equal(left(first.block).length, 2);
  const second = await start();
  second.child.kill('SIGTERM');
  await second.gone;
  assert.deepEqual(left(first.block), []);
  assert.deepEqual(left(second.block), []);
  fs.rmSync(dir, { recursive: true, force: true });
});
