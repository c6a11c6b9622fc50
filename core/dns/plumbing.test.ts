// Around the messages: frames byte by byte, resolv.conf, the cache, and real sockets on loopback.
import assert from 'node:assert/strict';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Clock, FakeClock, parseIp, seededRandom } from '../base/index.ts';
import {
  addressRecord,
  type AnswerDns,
  askUpstream,
  DnsCache,
  DnsFrames,
  frameDns,
  parseResolvConf,
  rcodes,
  readAnswer,
  readQuery,
  serveTcp,
  serveUdp,
  writeAnswer,
} from './index.ts';

const query = (id: number, type = 1): Uint8Array =>
  Uint8Array.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, type, 0, 1]);
const ip = (text: string) => parseIp(text) ?? assert.fail();

function answerTo(message: Uint8Array, ttl = 30, rcode: 0 | 3 = 0): Uint8Array {
  const read = readQuery(message);
  if (read.kind !== 'query') return assert.fail(read.kind);
  const answers = rcode === 0 ? [addressRecord('a', ttl, ip('10.0.0.1'))] : [];
  const head = { rcode, authoritative: true, recursion: true, additional: [] };
  return writeAnswer(read.query, { ...head, answers }, 512);
}

test('frames: any split of any messages gives the same messages', () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 });
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 50 }), (list, step) => {
      const stream = Buffer.concat(list.map(frameDns));
      const frames = new DnsFrames();
      const out: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += step) {
        out.push(...frames.push(stream.subarray(at, at + step)));
      }
      assert.deepEqual(
        out.map((m) => [...m]),
        list.map((m) => [...m]),
      );
    }),
  );
});

test('resolv.conf: servers, search list, limits; nonsense is passed over', () => {
  const conf = parseResolvConf(
    [
      '# comment',
      'search Shop.svc.cluster.local. svc.cluster.local',
      'nameserver 10.96.0.10',
      'nameserver fe80::1%eth0',
      'nameserver nonsense',
      'nameserver 1.1.1.1 ; why',
      'nameserver 9.9.9.9',
      'options ndots:5 timeout:1 attempts:99 rotate',
    ].join('\n'),
  );
  assert.deepEqual(
    conf.servers.map((s) => `${s.ip} ${s.port}`),
    ['10.96.0.10 53', 'fe80::1 53', '1.1.1.1 53'],
  );
  assert.deepEqual(conf.search, ['shop.svc.cluster.local', 'svc.cluster.local']);
  assert.deepEqual([conf.timeoutMs, conf.attempts], [1000, 5]);
  assert.deepEqual(parseResolvConf('').timeoutMs, 5000);
});

test('F31: an answer is kept as long as it says, a little longer for bad times, and never grows', () => {
  const cache = new DnsCache();
  cache.put(query(1), 'udp', answerTo(query(1)), 0);
  const later = cache.get(query(7), 'udp', 10_000) ?? assert.fail();
  assert.deepEqual([later[1], readAnswer(later, query(7))?.ttl], [7, 20]);
  assert.equal(cache.get(query(1), 'tcp', 0), undefined, 'another protocol');
  assert.equal(cache.get(query(1), 'udp', 30_000), undefined, 'over');
  const stale = cache.get(query(1), 'udp', 80_000, true) ?? assert.fail();
  assert.equal(readAnswer(stale, query(1))?.ttl, 5);
  assert.equal(cache.get(query(1), 'udp', 90_000, true), undefined, 'too old');
  assert.equal(cache.size, 0);
  cache.put(query(1), 'udp', answerTo(query(1), 0), 0);
  cache.put(query(1), 'udp', answerTo(query(1), 30, 3), 0);
  assert.equal(cache.size, 0, 'no time, no name');
  for (let i = 0; i < 3000; i++) {
    const one = Uint8Array.from(query(1));
    one[13] = i & 255;
    one[16] = i >> 8;
    cache.put(one, 'udp', answerTo(one), 0);
  }
  assert.equal(cache.size, 1024, 'N5: random names');
});

async function udp(answer: AnswerDns): Promise<{ socket: UdpSocket; port: number }> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  serveUdp(socket, answer);
  return { socket, port: socket.address().port };
}

const sockets = {
  udp: () => createSocket('udp4'),
  tcp: async (to: { ip: string; port: number }) => {
    const socket = net.connect(to.port, to.ip);
    await once(socket, 'connect');
    return socket;
  },
};
const conf = (...ports: number[]) => ({
  servers: ports.map((port) => ({ ip: ip('127.0.0.1'), port })),
  search: [],
  timeoutMs: 5000,
  attempts: 1,
});
const options = (clock: Clock) => ({ clock, random: seededRandom(1), sockets });

test('N5: ids and ports upstream are of chance; foreign answers are passed over; the client’s id comes back', async () => {
  const seen = new Set<string>();
  const { socket, port } = await udp(async (message, { from }) => {
    seen.add(`${message[0]}.${message[1]} ${from.port}`);
    const wrong = Uint8Array.from(answerTo(message));
    wrong[0] = (wrong[0] ?? 0) ^ 1;
    socket.send(wrong, from.port, from.ip);
    return answerTo(message);
  });
  try {
    for (let i = 0; i < 4; i++) {
      const answer = await askUpstream(query(77), 'udp', conf(port), options(new FakeClock()));
      assert.equal(answer[1], 77);
    }
    assert.equal(seen.size, 4);
  } finally {
    socket.close();
  }
});

test('F31: a silent server costs its time and no more; the next one is asked; then it is a failure', async () => {
  const clock = new FakeClock();
  let asked = 0;
  const silent = await udp(async () => {
    asked++;
    clock.advance(5000);
    return undefined;
  });
  const good = await udp(async (message) => answerTo(message));
  try {
    const answer = await askUpstream(query(1), 'udp', conf(silent.port, good.port), options(clock));
    assert.ok(readAnswer(answer, query(1)));
    await assert.rejects(
      askUpstream(query(1), 'udp', conf(silent.port), options(clock)),
      /does not answer/,
    );
    await assert.rejects(askUpstream(query(1), 'udp', conf(), options(clock)), /names no server/);
    assert.equal(asked, 2);
    assert.equal(clock.waiting, 0);
  } finally {
    silent.socket.close();
    good.socket.close();
  }
});

test('TCP: pipelined questions, a large answer, idle connections close, cut-off ones leave nothing', async () => {
  const clock = new FakeClock();
  const accepted: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    accepted.push(socket);
    serveTcp(socket, clock, async (message) => answerTo(message));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  try {
    const answer = await askUpstream(query(9), 'tcp', conf(port), options(clock));
    assert.equal(readAnswer(answer, query(9))?.count, 1);
    const client = net.connect(port, '127.0.0.1');
    const frames = new DnsFrames();
    const got: number[] = [];
    client.on('data', (chunk) => got.push(...frames.push(chunk).map((m) => m[1] ?? 0)));
    client.write(Buffer.concat([frameDns(query(1)), frameDns(query(2)), Buffer.from([0])]));
    while (got.length < 2) await once(client, 'data');
    assert.deepEqual(
      got.toSorted((x, y) => x - y),
      [1, 2],
    );
    client.end();
    clock.advance(5000);
    await once(client, 'close');
    assert.ok(accepted.every((s) => s.destroyed || s.writableEnded));
  } finally {
    server.close();
  }
  assert.equal(rcodes.SERVFAIL, 2);
});
