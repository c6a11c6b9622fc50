// A pod that lies about its address, and one that takes all it can: the mesh believes certificates alone, and the
// pods beside it go on.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { createInterface } from 'node:readline';
import { runIp } from '../../core/linux/index.ts';
import { emptyMatch, policyKey, type Rule } from '../../core/model/index.ts';
import { eventually } from '../kit/eventually.ts';
import { testPolicy, testWorkload } from '../kit/mesh.ts';
import { type NetnsMesh, startNetnsMesh } from './mesh.ts';
import { join, skip, type TestNamespace, withNamespaces } from './ring.ts';

const server = ['-m', 'http.server', '8080', '--bind', '0.0.0.0', '--directory', '/run/netns'];
const most = 400;

/** Takes every connection and says nothing. */
const sink = `
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
s, held = socket.create_server(('0.0.0.0', 81), backlog=1024), []
while True: held.append(s.accept())
`;

/** Opens 2,500 connections and says how many were reset; holds the others until it is killed. */
const flood = `
import resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held, refused = [], 0
poll = select.poll()
for i in range(2500):
    try:
        s = socket.create_connection(('10.11.0.2', 81), timeout=10)
        held.append(s)
        poll.register(s.fileno(), select.POLLERR | select.POLLHUP)
    except OSError:
        refused += 1
print('opened', flush=True)
gone = set()
while True:
    gone.update(fd for fd, _ in poll.poll(200))
    for fd in gone:
        try: poll.unregister(fd)
        except KeyError: pass
    print(refused + len(gone), flush=True)
`;

async function link(a: TestNamespace, b: TestNamespace, net: string): Promise<void> {
  await runIp([`link add eth1 type veth peer name eth1 netns ${b.name}`], a.fd);
  await runIp([`addr add ${net}.1/24 dev eth1`, 'link set eth1 up'], a.fd);
  await runIp([`addr add ${net}.2/24 dev eth1`, 'link set eth1 up'], b.fd);
}

describe('hostile pods in namespaces', { skip, timeout: 90_000 }, () => {
  let mesh: NetnsMesh;
  let a: TestNamespace;
  let b: TestNamespace;
  let c: TestNamespace;
  let silent: ChildProcess;
  let end: () => void = () => {};
  let ended: Promise<void> = Promise.resolve();
  const curl = (ns: TestNamespace, ...args: string[]) =>
    ns.run('curl', '-s', '-S', '-o', '/dev/null', '-w', '%{http_code}', '-m', '5', ...args);

  before(async () => {
    mesh = await startNetnsMesh({ MAX_CONNECTIONS_PER_POD: String(most) });
    const ready = Promise.withResolvers<void>();
    ended = withNamespaces(4, async (...all) => {
      let d: TestNamespace;
      [a, b, c, d] = all as [TestNamespace, TestNamespace, TestNamespace, TestNamespace];
      await join(a, b);
      await link(b, c, '10.10.0');
      await link(a, d, '10.11.0');
      const python = (ns: TestNamespace, ...args: string[]): ChildProcess =>
        spawn('ip', ['netns', 'exec', ns.name, 'python3', ...args], { stdio: 'ignore' });
      silent = python(d, '-c', sink);
      const apps = [python(b, ...server), python(c, ...server), silent];
      await eventually(
        async () => (await curl(a, 'http://10.9.0.2:8080/')).code === 0,
        'the first app',
      );
      await mesh.enrol('client', a, '10.9.0.1');
      await mesh.enrol('server', b, '10.9.0.2');
      await mesh.enrol('third', c, '10.10.0.2');
      const done = new Promise<void>((over) => {
        end = over;
      });
      ready.resolve();
      await done;
      for (const app of apps) {
        if (app.signalCode !== null) continue;
        const gone = once(app, 'exit');
        app.kill('SIGKILL');
        await gone;
      }
    });
    ended.catch((error: unknown) => ready.reject(error));
    await ready.promise;
  });
  after(async () => {
    await mesh.stop();
    end();
    await ended;
  });

  test('N3: an address that is another’s brings no identity, towards 15006 and towards 15008', async () => {
    const only = (name: string): Rule => [
      [
        {
          ...emptyMatch,
          principals: {
            any: [{ kind: 'exact', text: `cluster.local/ns/shop/sa/${name}` }],
            none: [],
          },
        },
      ],
    ];
    const allow = (name: string): void =>
      void mesh.feed.apply({
        policies: [testPolicy('one', { action: 'Allow', rules: [only(name)] })],
        workloads: [
          testWorkload('admin', '10.9.0.66'),
          testWorkload('server', '10.9.0.2', { authorizationPolicies: [policyKey('shop', 'one')] }),
        ],
      });
    const url = 'http://10.9.0.2:8080/';
    const code = async (...args: string[]): Promise<string> => (await curl(a, ...args)).out;
    allow('admin');
    // The address of somebody who is allowed, taken by somebody who is not.
    await runIp(['addr add 10.9.0.66/24 dev eth0'], a.fd);
    await mesh.rules(a, 'idle');
    assert.equal(await code('--interface', '10.9.0.66', url), '000', 'in plaintext, to 15006');
    await mesh.rules(a, 'capture');
    await runIp(['route replace 10.9.0.0/24 dev eth0 src 10.9.0.66'], a.fd);
    assert.equal(await code(url), '000', 'in a tunnel, to 15008');
    const inbound = (await mesh.records()).filter((r) => r.direction === 'inbound');
    const seen = inbound.map((r) => `${r.source.addr.split(':')[0]} ${r.source.identity}`);
    assert.ok(
      seen.includes('10.9.0.66 spiffe://cluster.local/ns/shop/sa/client'),
      `the identity is the certificate’s: ${seen.join()}`,
    );
    assert.ok(!seen.some((text) => text.endsWith('/sa/admin')));
    allow('client');
    assert.equal(await code(url), '200', 'and it is what counts, whatever the address');
    await mesh.rules(a, 'idle');
    assert.equal(await code('--interface', '10.9.0.1', url), '000', 'plaintext has none');
    await mesh.rules(a, 'capture');
    await runIp(['route replace 10.9.0.0/24 dev eth0 src 10.9.0.1'], a.fd);
    await runIp(['addr del 10.9.0.66/24 dev eth0'], a.fd);
    mesh.feed.apply({ workloads: [testWorkload('server', '10.9.0.2')] });
    assert.equal(await code(url), '200');
  });

  test('N7: a pod that opens thousands of connections is limited; others on its node connect', async () => {
    const child = spawn('ip', ['netns', 'exec', a.name, 'python3', '-c', flood], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let refused = 0;
    let opened = false;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'opened') opened = true;
      else refused = Number(line);
    });
    const gone = once(child, 'exit');
    try {
      // Meanwhile: a neighbour makes its requests.
      while (!opened) assert.equal((await curl(b, 'http://10.10.0.2:8080/')).out, '200');
      await eventually(() => refused >= 2500 - 2 * most, 'the rest was refused');
      assert.equal(
        await mesh.metrics.value('istio_tcp_sockets_open', { reporter: 'source' }),
        2 * most,
      );
      // The reset may come before curl has noticed that it is connected.
      const { code } = await curl(a, 'http://10.9.0.2:8080/');
      assert.ok(code === 7 || code === 56, `its own next one too: ${code}`);
      assert.equal((await curl(b, 'http://10.10.0.2:8080/')).out, '200');
      const reason = { reporter: 'source', reason: 'STREAM_LIMIT' };
      assert.ok((await mesh.metrics.value('ambient_refusals_total', reason)) > 1_000);
    } finally {
      child.kill('SIGKILL');
      await gone;
      silent.kill('SIGKILL'); // a connection ends when both of its ends have
    }
    await eventually(
      async () => (await curl(a, 'http://10.9.0.2:8080/')).out === '200',
      'it may again',
    );
  });
});
