import assert from 'node:assert/strict';
import test from 'node:test';
import {
  decodeNotification,
  decodeSocketAddress,
  encodeAddFd,
  encodeLoopback6,
  encodeReply,
  encodeSocketAddress,
  intArgument,
} from './structs.ts';

test('a notification is read from its 80 bytes', () => {
  const bytes = Buffer.alloc(80);
  bytes.writeBigUInt64LE(7n, 0);
  bytes.writeUInt32LE(1234, 8);
  bytes.writeInt32LE(42, 16);
  bytes.writeBigUInt64LE(0xffffff9cn, 32);
  bytes.writeBigUInt64LE(99n, 72);
  const n = decodeNotification(bytes);
  assert.equal(n.id, 7n);
  assert.equal(n.tid, 1234);
  assert.equal(n.nr, 42);
  assert.equal(intArgument(n.args[0]), -100); // AT_FDCWD
  assert.equal(n.args[5], 99n);
  assert.equal(intArgument(undefined), 0);
});

test('replies: continue sets the flag, an errno is negative, a value is the result', () => {
  assert.equal(encodeReply(1n, { do: 'continue' }).readUInt32LE(20), 1);
  const failed = encodeReply(1n, { do: 'errno', errno: 111 });
  assert.equal(failed.readInt32LE(16), -111);
  assert.equal(failed.readUInt32LE(20), 0);
  assert.equal(encodeReply(1n, { do: 'value', value: 5 }).readBigInt64LE(8), 5n);
});

test('addfd answers at once and carries close-on-exec', () => {
  const bytes = encodeAddFd(3n, 9, true);
  assert.equal(bytes.readUInt32LE(8), 2);
  assert.equal(bytes.readUInt32LE(12), 9);
  assert.equal(bytes.readUInt32LE(20), 0o2000000);
});

test('socket addresses survive the round trip', () => {
  for (const family of ['inet', 'inet6'] as const) {
    const bytes = encodeSocketAddress(family, '127.64.0.7', 9080);
    assert.equal(bytes.length, family === 'inet' ? 16 : 28);
    assert.deepEqual(decodeSocketAddress(bytes), {
      family,
      ip: '127.64.0.7',
      port: 9080,
      any: false,
      v6: false,
    });
  }
});

test('any, IPv6, unix, unknown and short addresses are told apart', () => {
  const any = decodeSocketAddress(encodeSocketAddress('inet', '0.0.0.0', 80));
  assert.equal(any.family === 'inet' && any.any, true);
  const six = Buffer.alloc(28);
  six.writeUInt16LE(10, 0);
  const any6 = decodeSocketAddress(six);
  assert.equal(any6.family === 'inet6' && any6.any && !any6.v6, true);
  const one = decodeSocketAddress(encodeLoopback6(80));
  assert.equal(one.family === 'inet6' && one.v6 && !one.any, true);
  const unix = Buffer.from('\x01\0/run/x\0junk', 'latin1');
  assert.deepEqual(decodeSocketAddress(unix), { family: 'unix', path: '/run/x' });
  assert.deepEqual(decodeSocketAddress(Buffer.from([17, 0])), { family: 'other', number: 17 });
  assert.deepEqual(decodeSocketAddress(Buffer.from([2, 0, 1])), { family: 'other', number: 2 });
  assert.deepEqual(decodeSocketAddress(Buffer.alloc(0)), { family: 'other', number: -1 });
});
