// The calls against the real kernel.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import test from 'node:test';
import { seccompNotifyAvailable, takeFd } from './seccomp.ts';
import {
  bindAddressNoPort,
  bindSocket,
  closeFd,
  connectSocket,
  isNonBlocking,
  isPending,
  isV6Only,
  listenSocket,
  localAddress,
  openPipe,
  openSocket,
  openWaker,
  pollFds,
  sendNow,
  setNonBlocking,
  socketDomain,
  socketError,
  socketType,
} from './sockets.ts';

const linux = process.platform === 'linux';
const skip = linux ? false : 'needs Linux';

test('a raw socket binds, connects and sends', { skip }, async () => {
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const fd = openSocket(2, 1, 0);
  try {
    assert.equal(socketType(fd), 1);
    assert.equal(socketDomain(fd), 2);
    setNonBlocking(fd, true);
    assert.equal(isNonBlocking(fd), true);
    bindAddressNoPort(fd);
    assert.equal(bindSocket(fd, 'inet', '127.0.0.2', 0), 0);
    const result = connectSocket(fd, 'inet', '127.0.0.1', port);
    assert.ok(result === 0 || isPending(result));
    assert.deepEqual(pollFds([{ fd, want: 'write' }], 5_000), [true]);
    assert.equal(socketError(fd), 0);
    setNonBlocking(fd, false);
    assert.equal(isNonBlocking(fd), false);
    const local = localAddress(fd);
    assert.equal(local.family === 'inet' && local.ip, '127.0.0.2');
    assert.equal(sendNow(fd, Buffer.from('hello')), 5);
  } finally {
    closeFd(fd);
  }
  const [peer] = await accepted;
  peer.on('error', () => {});
  assert.equal(peer.remoteAddress, '127.0.0.2');
  const text: Buffer[] = [];
  for await (const chunk of peer) text.push(chunk as Buffer);
  assert.equal(Buffer.concat(text).toString(), 'hello');
  server.close();
});

test('a refused connect shows in the error option; V6ONLY reads back', { skip }, () => {
  const holder = openSocket(2, 1, 0);
  bindSocket(holder, 'inet', '127.0.0.1', 0);
  const local = localAddress(holder);
  const port = local.family === 'inet' ? local.port : 0;
  const fd = openSocket(2, 1 | 0o4000, 0);
  const result = connectSocket(fd, 'inet', '127.0.0.1', port);
  if (isPending(result)) {
    pollFds([{ fd, want: 'write' }], 5_000);
    assert.equal(socketError(fd), 111);
  } else assert.equal(result, -111);
  assert.equal(isV6Only(fd), false);
  assert.equal(listenSocket(holder, 1), 0);
  closeFd(fd);
  closeFd(holder);
});

test('pipes and wakers', { skip }, () => {
  const pipe = openPipe();
  fs.writeSync(pipe.write, 'x');
  assert.deepEqual(pollFds([{ fd: pipe.read, want: 'read' }], 0), [true]);
  closeFd(pipe.read);
  closeFd(pipe.write);
  const waker = openWaker();
  assert.deepEqual(pollFds([{ fd: waker, want: 'read' }], 0), [false]);
  const one = Buffer.alloc(8);
  one.writeBigUInt64LE(1n);
  fs.writeSync(waker, one);
  assert.deepEqual(pollFds([{ fd: waker, want: 'read' }], 0), [true]);
  closeFd(waker);
});

test('taking a descriptor of a process that is not there fails', { skip }, () => {
  assert.ok(takeFd(0x3fffff, 0) < 0);
});

test('the probe answers, with a reason when not', () => {
  const answer = seccompNotifyAvailable();
  assert.ok(answer.ok || answer.reason.length > 0);
});
