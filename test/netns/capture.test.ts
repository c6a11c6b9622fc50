// Programs in two pods that know nothing of a mesh talk: captured by the kernel, carried in mutual TLS.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { openPacketTap, type PacketTap, runIp } from '../../core/linux/index.ts';
import { parseIp } from '../../core/base/index.ts';
import { eventually } from '../kit/eventually.ts';
import { type Answer, legOf, wireLeaks } from '../../cli/verify/answers.ts';
import { judge } from '../../cli/verify/verdict.ts';
import { type NetnsMesh, startNetnsMesh } from './mesh.ts';
import { join, skip, type TestNamespace, withNamespaces } from './ring.ts';

const server = `
import http.server, socket, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = ('hello %s canary-of-the-answer' % self.client_address[0].replace('::ffff:', '')).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
class S(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    address_family = socket.AF_INET6
S(('::', 8080), H).serve_forever()
`;

describe('capture in namespaces', { skip, timeout: 60_000 }, () => {
  let mesh: NetnsMesh;
  let a: TestNamespace;
  let b: TestNamespace;
  let tap: PacketTap;
  let end: () => void = () => {};
  let ended: Promise<void> = Promise.resolve();
  const curl = (ns: TestNamespace, url: string) =>
    ns.run('curl', '-g', '-s', '-S', '--max-time', '5', url);
  const both = (...texts: string[]) => ({ addresses: texts.flatMap((t) => parseIp(t) ?? []) });

  before(async () => {
    mesh = await startNetnsMesh();
    const ready = Promise.withResolvers<void>();
    ended = withNamespaces(2, async (one, two) => {
      [a, b] = [one, two];
      await join(a, b);
      const app = spawn('ip', ['netns', 'exec', b.name, 'python3', '-c', server], {
        stdio: 'inherit',
      });
      const done = new Promise<void>((over) => {
        end = over;
      });
      ready.resolve();
      await done;
      const gone = new Promise((over) => app.once('exit', over));
      app.kill('SIGKILL');
      await gone;
    });
    ended.catch((error: unknown) => ready.reject(error));
    await ready.promise;
    const { out } = await b.run('cat', '/sys/class/net/eth0/ifindex');
    tap = openPacketTap(b.fd, Number(out));
  });

  after(async () => {
    tap.close();
    await mesh.stop();
    end();
    await ended;
  });

  test('before: plaintext on the link', async () => {
    await eventually(async () => (await curl(a, 'http://10.9.0.2:8080/canary')).code === 0);
    assert.ok(tap.take().some((p) => p.includes('GET /canary')));
  });

  test('Z1 N-capture: enrolled pods talk in mutual TLS, and the client keeps its address', async () => {
    await mesh.enrol('client', a, '10.9.0.1', both('10.9.0.1', 'fd09::1'));
    await mesh.enrol('server', b, '10.9.0.2', both('10.9.0.2', 'fd09::2'));
    tap.take();
    const { out, err } = await curl(a, 'http://10.9.0.2:8080/canary');
    assert.equal(out, 'hello 10.9.0.1 canary-of-the-answer', `${err}${mesh.lines.join('')}`);
    const python = await a.run(
      'python3',
      '-c',
      'import urllib.request; print(urllib.request.urlopen("http://10.9.0.2:8080/canary").read())',
    );
    assert.match(python.out, /canary-of-the-answer/, python.err);
    const packets = tap.take().filter((p) => p.length > 60);
    assert.ok(packets.length > 4);
    assert.ok(!packets.some((p) => p.includes('canary')), 'nothing of the payload on the link');
    assert.ok(
      packets.some((p) => p.includes(Buffer.from([0x17, 0x03, 0x03]))),
      'TLS records',
    );
    const records = await eventually(async () => {
      const all = await mesh.records();
      return all.length >= 4 && all;
    });
    assert.ok(records.every((r) => r.source.identity?.endsWith('/sa/client')));
  });

  test('F43: the same by IPv6', async () => {
    tap.take();
    const { out, err } = await curl(a, 'http://[fd09::2]:8080/canary');
    assert.equal(out, 'hello fd09::1 canary-of-the-answer', err);
    const packets = tap.take();
    assert.ok(!packets.some((p) => p.includes('canary')), 'nothing of the payload on the link');
    assert.ok(packets.some((p) => p.includes(Buffer.from([0x17, 0x03, 0x03]))));
  });

  test('verify: a frame in clear on the wire turns the verdict, whatever was negotiated', async () => {
    const ask = async (trace: string) => {
      const body = {
        source: 'Kubernetes//Pod/shop/client',
        destination: '10.9.0.2:8080',
        traceparent: `00-${trace}-00f067aa0ba902b7-01`,
        fresh: true,
        packets: true,
      };
      return (await mesh.probe(body)) as Answer;
    };
    const verdictOf = (answer: Answer) =>
      judge({
        served: answer.served,
        ok: answer.ok,
        protocol: answer.protocol,
        legs: [legOf('client', 'server', answer)],
        leaks: wireLeaks(answer.wire),
      });
    const quiet = await ask('4bf92f3577b34da6a3ce929d0e0e4736');
    assert.equal(verdictOf(quiet), 'mtls', JSON.stringify(quiet));
    const { wire } = quiet;
    assert.ok(wire && 'tls' in wire && wire.tls > 0 && wire.plain === 0);
    // Somebody in the pod says the same in clear, by UDP, which the mesh does not carry.
    const trace = '5bf92f3577b34da6a3ce929d0e0e4736';
    const loud = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('loud', flush=True)
for i in range(30000):
    s.sendto(b'${trace}', ('10.9.0.2', 9999))
    time.sleep(0.001)
`;
    const child = spawn('ip', ['netns', 'exec', a.name, 'python3', '-c', loud]);
    const gone = new Promise((done) => child.once('exit', done));
    try {
      await new Promise((done) => child.stdout.once('data', done));
      const answer = await eventually(async () => {
        const found = await ask(trace);
        return wireLeaks(found.wire) && found;
      }, 'a frame in clear was seen');
      assert.equal(answer.ok, true);
      assert.equal(verdictOf(answer), 'plaintext');
    } finally {
      child.kill('SIGKILL');
      await gone;
    }
  });

  test('Z2 N-plain: a caller outside is let in, and counted as unknown', async () => {
    await mesh.rules(a, 'idle');
    const { out, err } = await curl(a, 'http://10.9.0.2:8080/');
    assert.match(out, /^hello 10.9.0.1 /, err);
    const [record] = await eventually(async () => {
      const all = (await mesh.records()).filter((r) => r.source.identity === undefined);
      return all.length > 0 && all;
    });
    assert.equal(record?.direction, 'inbound');
    await mesh.rules(a, 'capture');
  });

  test('N2: the tunnel’s port takes nobody without a certificate', async () => {
    await mesh.rules(a, 'idle');
    for (const url of ['http://10.9.0.2:15008/', 'https://10.9.0.2:15008/']) {
      const { code, out } = await a.run('curl', '-k', '-s', '-m', '5', url);
      assert.notEqual(code, 0, url);
      assert.equal(out, '');
    }
    await mesh.rules(a, 'capture');
  });

  test('N4: destinations that are nobody’s end, and the proxy goes on', async () => {
    for (const host of [
      '0.0.0.0',
      '224.0.0.1',
      '255.255.255.255',
      '169.254.169.254',
      '[ff02::1]',
    ]) {
      assert.notEqual(
        (await a.run('curl', '-g', '-s', '-m', '1', `http://${host}/`)).code,
        0,
        host,
      );
    }
    assert.equal((await curl(a, 'http://10.9.0.2:8080/')).code, 0);
  });

  test('F45: the node’s probes reach the application past the proxy', async () => {
    await mesh.rules(a, 'idle');
    await runIp(['addr add 169.254.7.127/32 dev lo'], a.fd);
    await runIp(['route add 169.254.7.127 via 10.9.0.1'], b.fd);
    const before = (await mesh.records()).length;
    const probe = ['-s', '-m', '5', '--interface', '169.254.7.127', 'http://10.9.0.2:8080/'];
    assert.match((await a.run('curl', ...probe)).out, /^hello 169\.254\.7\.127 /);
    assert.equal((await mesh.records()).length, before);
    await runIp(['addr del 169.254.7.127/32 dev lo'], a.fd);
    await mesh.rules(a, 'capture');
  });

  test('N1 N-loop: the proxy’s own ports refuse direct calls', async () => {
    for (const url of ['http://127.0.0.1:15001/', 'http://127.0.0.1:15006/']) {
      assert.notEqual((await curl(a, url)).code, 0, url);
    }
    await mesh.rules(a, 'idle');
    for (const port of [15001, 15006]) {
      assert.notEqual((await curl(a, `http://10.9.0.2:${port}/`)).code, 0);
    }
    await mesh.rules(a, 'capture');
  });

  test('Z-gone: a pod that goes leaves no listener', async () => {
    const listening = async (): Promise<string> => (await b.run('ss', '-Hltn')).out;
    assert.match(await listening(), /:15008/);
    const [uid] = ['Kubernetes//Pod/shop/server'];
    await mesh.zds.remove(uid, 0);
    await eventually(async () => !/:1500[168]/.test(await listening()));
    await runIp(['link show lo'], b.fd);
  });
});
