// The PROXY protocol, written and read; row N6 of the checklist.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IpAddress, parseIp } from './ip.ts';
import { fixedBytes, printV1, printV2, readStart, readTarget } from './proxy-header.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed) throw new Error(text);
  return parsed;
};

const from = { ip: ip('127.1.0.2'), port: 40_000 };
const to = { ip: ip('127.1.0.3'), port: 8080 };

function read(bytes: Uint8Array) {
  const start = readStart(bytes.subarray(0, fixedBytes));
  if (!start.ok) return start.detail;
  const rest = bytes.subarray(fixedBytes);
  return rest.length === start.restBytes ? readTarget(rest, start.family) : 'length';
}

test('what is written is read back: IPv4, IPv6, with an identity', () => {
  assert.deepEqual(read(printV2(from, to)), to);
  const v6 = { ip: ip('ff06::c3'), port: 443 };
  assert.deepEqual(read(printV2({ ip: ip('::1'), port: 1 }, v6)), v6);
  assert.deepEqual(read(printV2(from, to, 'spiffe://cluster.local/ns/a/sa/b')), to);
});

test('3.1.2: a mapped IPv4 target is the IPv4 one', () => {
  const v6 = { ip: ip('ff06::c3'), port: 443 };
  const bytes = Buffer.from(printV2(v6, v6));
  Buffer.from('00000000000000000000ffff7f010003', 'hex').copy(bytes, fixedBytes + 16);
  assert.deepEqual(read(bytes), { ip: ip('127.1.0.3'), port: 443 });
});

test('mixed families carry no addresses, only the identity', () => {
  const bytes = printV2(from, { ip: ip('::1'), port: 80 }, 'spiffe://td/x');
  assert.equal(bytes[13], 0x01);
  assert.equal(bytes[16], 0xd0);
});

test('N6: every broken header is refused', () => {
  const good = printV2(from, to, 'spiffe://td/x');
  const change = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    bytes[at] = value;
    return bytes;
  };
  for (const [name, bytes] of Object.entries({
    'cut off': good.subarray(0, 12),
    'version 1': new TextEncoder().encode('PROXY TCP4 127.0.0.1 127.0.0.2 1 2\r\n'),
    'version 3': change(12, 0x31),
    LOCAL: change(12, 0x20),
    'unknown family': change(13, 0x31),
    UDP: change(13, 0x12),
    'addresses cut off': change(15, 4),
    'far too long': change(14, 0xff),
  })) {
    assert.equal(typeof read(bytes), 'string', name);
  }
  assert.equal(read(change(30, 0xff)), undefined, 'TLV length');
  const zero = good.slice();
  zero[26] = 0;
  zero[27] = 0;
  assert.equal(read(zero), undefined, 'port 0');
});

test('version 1 is a line of text', () => {
  const line = (...ends: [string, string]): string => {
    const [source, target] = ends.map((text, i) => ({ ip: ip(text), port: 40_000 + i }));
    assert.ok(source && target);
    return Buffer.from(printV1(source, target)).toString();
  };
  assert.equal(line('127.1.0.2', '10.0.0.9'), 'PROXY TCP4 127.1.0.2 10.0.0.9 40000 40001\r\n');
  assert.equal(line('fd00::1', '::1'), 'PROXY TCP6 fd00::1 ::1 40000 40001\r\n');
  assert.equal(line('127.1.0.2', '::1'), 'PROXY UNKNOWN\r\n', 'of two families');
});
