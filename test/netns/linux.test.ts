// core/linux against the real kernel, in namespaces of its own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { IpAddress } from '../../core/base/index.ts';
import {
  connectSeqpacket,
  fdOf,
  inNamespace,
  type ListenInside,
  listenInside,
  listenSeqpacket,
  type NamespaceFd,
  namespaceId,
  openPacketTap,
  originalDestination,
  ownNamespaceId,
  type Packet,
  runIp,
  runNft,
  type SeqpacketConnection,
  socketInside,
} from '../../core/linux/index.ts';
import { eventually } from '../kit/eventually.ts';
import { join, skip, withNamespaces } from './ring.ts';

const ip = (text: string): IpAddress => text as IpAddress;
const mark = 0x539;

async function serve(
  ns: NamespaceFd,
  address: string,
  port: number,
  more: Partial<ListenInside> = {},
): Promise<net.Server> {
  const { fd } = listenInside(ns, {
    at: { ip: ip(address), port },
    mark: 0,
    reusePort: false,
    backlog: 16,
    transparent: 'no',
    ...more,
  });
  const server = net.createServer();
  server.listen({ fd });
  await once(server, 'listening');
  return server;
}

async function dial(
  ns: NamespaceFd,
  to: string,
  port: number,
  from?: string,
  withMark = 0,
): Promise<net.Socket> {
  const fd = socketInside(ns, {
    to: ip(to),
    mark: withMark,
    from: from === undefined ? undefined : ip(from),
  });
  const socket = new net.Socket({ fd });
  socket.connect(port, to);
  await once(socket, 'connect');
  socket.on('error', () => {});
  return socket;
}

test('a namespace is entered and left, also when the work throws', { skip }, async () => {
  await withNamespaces(1, async (a) => {
    const own = ownNamespaceId();
    const inside = (): string => fs.readlinkSync('/proc/thread-self/ns/net');
    const outside = inside();
    assert.notEqual(inNamespace(a.fd, inside), outside);
    assert.throws(() => inNamespace(a.fd, () => assert.fail('on purpose')), /on purpose/);
    assert.equal(inside(), outside);
    assert.notEqual(namespaceId(a.fd), own);
    assert.throws(() => inNamespace(0x3fff, () => {}), { code: 'EBADF' });
  });
});

for (const family of ['IPv4', 'IPv6'] as const) {
  const [one, two, any] =
    family === 'IPv4' ? ['10.9.0.1', '10.9.0.2', '0.0.0.0'] : ['fd09::1', 'fd09::2', '::'];

  test(`${family}: sockets stay in their namespaces`, { skip }, async () => {
    await withNamespaces(2, async (a, b) => {
      await join(a, b);
      const server = await serve(b.fd, any, 8080, { reusePort: true });
      const second = await serve(b.fd, any, 8080, { reusePort: true });
      await new Promise((done) => second.close(done));
      const accepted = once(server, 'connection') as Promise<[net.Socket]>;
      const client = await dial(a.fd, two, 8080, undefined, mark);
      const [peer] = await accepted;
      assert.equal(peer.remoteAddress, one);
      client.destroy();
      peer.destroy();
      server.close();
    });
  });

  test(`${family}: 3.1.2 where a redirected connection wanted to go; marks pass`, {
    skip,
  }, async () => {
    await withNamespaces(2, async (a, b) => {
      await join(a, b);
      await runNft(
        `table inet t {
  chain out {
    type nat hook output priority -100
    meta mark & 0xfff == 0x539 return
    tcp dport 1-65535 redirect to :15001
  }
}
`,
        a.fd,
      );
      const proxy = await serve(a.fd, any, 15001);
      const app = await serve(b.fd, any, 8080);
      const caught = once(proxy, 'connection') as Promise<[net.Socket]>;
      const client = await dial(a.fd, two, 8080);
      const [socket] = await caught;
      const target = originalDestination(fdOf(socket) ?? -1, family);
      assert.deepEqual(target, { ip: two, port: 8080 });
      const reached = once(app, 'connection') as Promise<[net.Socket]>;
      const direct = await dial(a.fd, two, 8080, undefined, mark);
      const [seen] = await reached;
      assert.equal(originalDestination(fdOf(seen) ?? -1, family), undefined, 'not tracked');
      for (const s of [client, socket, direct, seen]) s.destroy();
      proxy.close();
      app.close();
    });
  });
}

test('a source address that is not ours, with the way back by rules', { skip }, async () => {
  await withNamespaces(2, async (a, b) => {
    await join(a, b);
    const rules = `table inet t {
  chain pre { type filter hook prerouting priority -150
    meta mark & 0xfff == 0x539 ct mark set 0x111
  }
  chain out { type route hook output priority -150
    ct mark & 0xfff == 0x111 meta mark set ct mark
  }
}
`;
    await runNft(rules, a.fd);
    await runIp(
      [
        'rule add fwmark 0x111/0xfff priority 32764 lookup 100',
        'route add local default dev lo table 100',
      ],
      a.fd,
    );
    const app = await serve(a.fd, '10.9.0.1', 9000);
    const arrived = once(app, 'connection') as Promise<[net.Socket]>;
    const socket = await dial(a.fd, '10.9.0.1', 9000, '10.9.0.77', mark);
    const [seen] = await arrived;
    assert.equal(seen.remoteAddress, '10.9.0.77');
    seen.destroy();
    socket.destroy();
    app.close();
    const { transparent, fd } = listenInside(a.fd, {
      at: { ip: ip('127.0.0.1'), port: 0 },
      mark,
      reusePort: true,
      backlog: 1,
      transparent: 'must',
    });
    assert.equal(transparent, true);
    fs.closeSync(fd);
  });
});

test('messages with a descriptor; ends of either side', { skip }, async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'seqpacket-'));
  const at = path.join(dir, 'zds.sock');
  assert.throws(() => connectSeqpacket(at), { code: 'ENOENT' });
  const packets: Packet[] = [];
  const ends: (Error | undefined)[] = [];
  const accepted = Promise.withResolvers<SeqpacketConnection>();
  const server = listenSeqpacket(at, (connection) => {
    connection.on({ packet: (p) => packets.push(p), close: (e) => ends.push(e) });
    accepted.resolve(connection);
  });
  try {
    const client = connectSeqpacket(at);
    const answers: string[] = [];
    const closed = Promise.withResolvers<void>();
    client.on({
      packet: (p) => answers.push(Buffer.from(p.bytes).toString()),
      close: () => closed.resolve(),
    });
    const passed = fs.openSync('/proc/self/ns/net', 'r');
    assert.equal(client.send(Buffer.from('with'), passed), true);
    assert.equal(client.send(Buffer.from('without')), true);
    assert.equal(client.send(Buffer.alloc(5000)), false);
    fs.closeSync(passed);
    await eventually(() => packets.length === 2);
    const [first, second] = packets;
    assert.equal(Buffer.from(first?.bytes ?? []).toString(), 'with');
    assert.equal(first?.fds.length, 1);
    assert.equal(namespaceId(first?.fds[0] ?? -1), ownNamespaceId());
    fs.closeSync(first?.fds[0] ?? -1);
    assert.deepEqual([second?.fds, second?.truncated], [[], false]);
    const connection = await accepted.promise;
    assert.equal(connection.send(Buffer.from('back')), true);
    await eventually(() => answers[0] === 'back');
    connection.close();
    await closed.promise;
    assert.equal(client.isOpen, false);
    await eventually(() => ends.length === 1);
    assert.deepEqual(ends, [undefined]);
  } finally {
    await server.stop();
    fs.rmSync(dir, { recursive: true });
  }
});

test('the doors to ip and nft say what was wrong', { skip }, async () => {
  await withNamespaces(1, async (a) => {
    await assert.rejects(runIp(['link set nosuch up'], a.fd), /ip: [^]*nosuch/);
    await runIp(['link set nosuch up', 'link add d0 type veth peer name d1'], a.fd, {
      force: true,
    }).catch(() => {});
    const { out } = await a.run('ip', '-br', 'link');
    assert.match(out, /d0/);
    await assert.rejects(runNft('table inet x { chain', a.fd), /nft: /);
  });
});

test('packets of a link', { skip }, async () => {
  await withNamespaces(2, async (a, b) => {
    await join(a, b);
    const { out } = await b.run('cat', '/sys/class/net/eth0/ifindex');
    const tap = openPacketTap(b.fd, Number(out));
    const server = await serve(b.fd, '0.0.0.0', 8080);
    server.on('connection', (s) => s.resume().on('error', () => {}));
    const client = await dial(a.fd, '10.9.0.2', 8080);
    client.end('a marked payload');
    const seen: Buffer[] = [];
    await eventually(() => {
      seen.push(...tap.take());
      return seen.some((p) => p.includes('a marked payload'));
    });
    tap.close();
    client.destroy();
    server.close();
  });
});
