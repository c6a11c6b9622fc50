// DNS of an enrolled pod: its own programs ask whatever name server they were given, and are answered from
// the mesh; the rest goes on to the proxy's name servers, from inside the pod.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type IpAddress, parseIp } from '../../core/base/index.ts';
import {
  addressRecord,
  askUpstream,
  rcodes,
  readAnswer,
  readQuery,
  serveTcp,
  serveUdp,
  writeAnswer,
} from '../../core/dns/index.ts';
import { listenInside, runIp, socketInside, udpInside } from '../../core/linux/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, testService, testWorkload } from '../kit/mesh.ts';
import { type NetnsMesh, startNetnsMesh } from './mesh.ts';
import { join, skip, type TestNamespace, withNamespaces } from './ring.ts';

const ip = (text: string): IpAddress => parseIp(text) ?? assert.fail();

/** The name server that is the pod's own choice: only there, in the second namespace. */
async function upstream(ns: TestNamespace, asked: string[]): Promise<() => void> {
  const answer = async (message: Uint8Array): Promise<Uint8Array | undefined> => {
    const read = readQuery(message);
    if (read.kind === 'other') {
      asked.push(`opcode ${read.opcode}`);
      const out = Uint8Array.from(message);
      out[2] = (out[2] ?? 0) | 0x80;
      out[3] = 5; // REFUSED, as a server that does not take updates
      return out;
    }
    if (read.kind !== 'query') return undefined;
    const { query } = read;
    asked.push(query.name);
    if (query.name === 'silent.example') return undefined;
    const known = query.name.endsWith('.example') && query.type === 1;
    const count = query.name === 'large.example' ? 100 : 1;
    return writeAnswer(
      query,
      {
        rcode: known ? rcodes.NOERROR : rcodes.NXDOMAIN,
        authoritative: true,
        recursion: true,
        answers: known
          ? Array.from({ length: count }, (_, i) =>
              addressRecord(query.name, 60, ip(`192.0.2.${i}`)),
            )
          : [],
        additional: [],
      },
      count > 1 && message.length < 1000 ? 65_535 : 512,
    );
  };
  const at = { ip: ip('10.9.0.2'), port: 53 };
  const udp = udpInside(ns.fd, { at, mark: 0, reusePort: false });
  serveUdp(udp, async (message) => {
    const out = await answer(message);
    if (!out || out.length <= 512) return out;
    const cut = Uint8Array.from(out.subarray(0, 12 + 15 + 4));
    cut[2] = (cut[2] ?? 0) | 0x02;
    cut[7] = 0;
    return cut;
  });
  const { fd } = listenInside(ns.fd, {
    at,
    mark: 0,
    reusePort: false,
    backlog: 16,
    transparent: 'no',
  });
  const tcp = net.createServer({ allowHalfOpen: true }, (s) => serveTcp(s, systemClock, answer));
  tcp.listen({ fd });
  await once(tcp, 'listening');
  return () => {
    udp.close();
    tcp.close();
  };
}

describe('DNS of a pod in the mesh', { skip, timeout: 60_000 }, () => {
  let mesh: NetnsMesh;
  let a: TestNamespace;
  let stop: () => void = () => {};
  let end: () => void = () => {};
  let ended: Promise<void> = Promise.resolve();
  const asked: string[] = [];
  /** What `ip netns exec` gives the pod's programs for theirs. */
  let etc = '';
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'ambient-dns-'));
  const resolv = path.join(folder, 'resolv.conf');

  /** A question of a program in the pod to a name server that is not there at all. */
  const ask = async (bytes: Uint8Array, protocol: 'udp' | 'tcp' = 'udp') => {
    const to = { ip: ip('10.99.0.53'), port: 53 };
    const conf = { servers: [to], search: [], timeoutMs: 5_000, attempts: 1 };
    return askUpstream(bytes, protocol, conf, {
      clock: systemClock,
      random: systemRandom,
      sockets: {
        udp: () =>
          udpInside(a.fd, { at: { ip: ip('0.0.0.0'), port: 0 }, mark: 0, reusePort: false }),
        tcp: async () => {
          const socket = new net.Socket({ fd: socketInside(a.fd, { to: to.ip, mark: 0 }) });
          socket.connect(to.port, to.ip);
          await once(socket, 'connect');
          return socket;
        },
      },
    });
  };
  const question = (name: string, type = 1): Uint8Array =>
    Uint8Array.from([
      0,
      7,
      1,
      0,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
      ...name.split('.').flatMap((l) => [l.length, ...Buffer.from(l)]),
      0,
      0,
      type,
      0,
      1,
    ]);
  const result = (answer: Uint8Array): string => {
    const aa = ((answer[2] ?? 0) & 4) !== 0 ? ' aa' : '';
    const tc = ((answer[2] ?? 0) & 2) !== 0 ? ' tc' : '';
    return `${(answer[3] ?? 0) & 15}:${answer[7]}${aa}${tc}`;
  };

  before(async () => {
    fs.writeFileSync(resolv, 'nameserver 10.9.0.2\noptions timeout:1 attempts:1\n');
    mesh = await startNetnsMesh({ RESOLV_CONF: resolv });
    const ready = Promise.withResolvers<void>();
    ended = withNamespaces(2, async (one, two) => {
      a = one;
      await join(one, two);
      await runIp(['route add default via 10.9.0.2'], one.fd);
      etc = `/etc/netns/${one.name}`;
      fs.mkdirSync(etc, { recursive: true });
      fs.writeFileSync(path.join(etc, 'resolv.conf'), 'nameserver 10.99.0.53\n');
      stop = await upstream(two, asked);
      const done = new Promise<void>((over) => {
        end = over;
      });
      ready.resolve();
      await done;
    });
    ended.catch((error: unknown) => ready.reject(error));
    await ready.promise;
    mesh.feed.apply({
      services: [
        testService('web', '10.96.0.1', 80, 8080),
        { ...testService('db', '10.96.0.9', 1, 1), vips: [] },
      ],
      workloads: Array.from({ length: 60 }, (_, i) =>
        testWorkload(`db-${i}`, `10.8.0.${i + 1}`, { services: backs('db') }),
      ),
    });
    await mesh.enrol('client', a, '10.9.0.1');
  });

  after(async () => {
    await mesh.stop();
    stop();
    end();
    await ended;
    for (const made of [folder, etc]) fs.rmSync(made, { recursive: true, force: true });
  });

  test('Z47: the system’s own resolver finds a service, its name server being nowhere', async () => {
    const { out, err } = await a.run('getent', 'ahostsv4', 'web.shop.svc.cluster.local');
    assert.match(out, /^10\.96\.0\.1 /, `${err}${mesh.lines.slice(-5).join('')}`);
    assert.deepEqual(asked, []);
  });

  test('Z21: what the mesh does not know is asked from inside the pod, and counted', async () => {
    assert.equal(result(await ask(question('other.example'))), '0:1 aa');
    assert.equal(result(await ask(question('other.example'), 'tcp')), '0:1 aa');
    assert.deepEqual(asked, ['other.example', 'other.example']);
    assert.equal(result(await ask(question('other.example'))), '0:1 aa');
    assert.equal(asked.length, 2, 'kept');
    assert.equal(result(await ask(question('nothing.test'))), '3:0 aa');
    const labels = { request_query_type: 'a', request_protocol: 'udp' };
    const count = (name: string) => mesh.metrics.value(`istio_dns_${name}_total`, labels);
    assert.ok((await count('requests')) >= 3);
    assert.equal(await count('upstream_requests'), 2);
    assert.equal(await count('upstream_failures'), 1);
  });

  test('10.1: known name without such a record; headless over TCP whole, over UDP cut', async () => {
    assert.equal(result(await ask(question('web.shop.svc.cluster.local', 28))), '0:0 aa');
    const name = 'db.shop.svc.cluster.local';
    assert.match(result(await ask(question(name))), /^0:\d+ aa tc$/);
    const whole = await ask(question(name), 'tcp');
    assert.equal(readAnswer(whole, whole.subarray(0, 0)), undefined);
    assert.equal(result(whole), '0:60 aa');
  });

  test('a large answer of a name server: cut by UDP, whole by TCP', async () => {
    assert.match(result(await ask(question('large.example'))), /^0:0 .*tc$/);
    assert.equal(result(await ask(question('large.example'), 'tcp')), '0:100 aa');
  });

  test('other operations are relayed as they are', async () => {
    const update = question('shop.test');
    update[2] = 0x28;
    assert.equal(result(await ask(update)), '5:0');
    assert.equal(asked.at(-1), 'opcode 5');
  });

  test('N5: malformed questions get FORMERR, half of one nothing, and the proxy goes on', async () => {
    const two = question('web.shop.svc.cluster.local');
    two[5] = 2;
    const socket = udpInside(a.fd, {
      at: { ip: ip('0.0.0.0'), port: 0 },
      mark: 0,
      reusePort: false,
    });
    const answers: Buffer[] = [];
    socket.on('message', (m) => answers.push(m));
    socket.send(two.subarray(0, 5), 53, '10.99.0.53');
    socket.send(two, 53, '10.99.0.53');
    await eventually(() => answers.length > 0, 'FORMERR');
    assert.equal((answers[0]?.[3] ?? 0) & 15, rcodes.FORMERR);
    assert.equal(answers.length, 1);
    socket.close();
    assert.equal(result(await ask(question('web.shop.svc.cluster.local'))), '0:1 aa');
  });

  test('F31: a silent name server is SERVFAIL in its time; mesh names are unaffected', async () => {
    const slow = ask(question('silent.example'));
    assert.equal(result(await ask(question('web.shop.svc.cluster.local'))), '0:1 aa');
    assert.equal(result(await slow), '2:0');
  });

  test('F16 questions that are on their way when the proxy leaves are answered', async () => {
    const at = { ip: ip('0.0.0.0'), port: 0 };
    const socket = udpInside(a.fd, { at, mark: 0, reusePort: false });
    const got = new Set<number>();
    socket.on('message', (m) => got.add(((m[0] ?? 0) << 8) | (m[1] ?? 0)));
    const count = 60;
    const sent = Array.from({ length: count }, (_, i) => {
      const bytes = question('web.shop.svc.cluster.local');
      bytes[1] = i;
      return new Promise((resolve) => socket.send(bytes, 53, '10.99.0.53', resolve));
    });
    // They are in the kernel’s hands: the proxy, in this process, has seen none of them.
    const left = mesh.drain(10_000);
    await Promise.all(sent);
    await left;
    await eventually(() => got.size === count, 'all answers');
    socket.close();
  });
});
